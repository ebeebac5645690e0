"""The cues of one clip, in the clip's own time."""

from topclip.captions.words import tokens
from topclip.model.transcript import Cue, Transcript, Word

MS = 0.001


def clip_cues(transcript: Transcript, start_s: float, end_s: float) -> tuple[Cue, ...]:
    """The cues within [start_s, end_s) of the source, cut there, to the millisecond.

    Of a cue whose words have times of their own only those stay that are heard in the clip. Where times are only reckoned the
    cue keeps its whole text: nobody knows which words the cut parts.
    """
    cut = (_cut(cue, start_s, end_s) for cue in transcript.cues if cue.start_s < end_s and cue.end_s > start_s)
    return tuple(cue for cue in cut if cue is not None)


def _cut(cue: Cue, start_s: float, end_s: float) -> Cue | None:
    start, end = (round(min(max(at, start_s), end_s) - start_s, 3) for at in (cue.start_s, cue.end_s))
    if end - start < MS:
        return None
    words, text = cue.words, cue.text
    if (cue.start_s < start_s or cue.end_s > end_s) and any(word.is_timed for word in words):
        heard = [n for n, word in enumerate(words) if word.end_s > start_s + MS and word.start_s < end_s - MS]
        if not heard:
            return None
        text = _part(cue.text, heard[0], heard[-1])
        words = words[heard[0] : heard[-1] + 1]
    return Cue(start_s=start, end_s=end, text=text, words=tuple(_moved(word, start_s) for word in words))


def _part(text: str, first: int, last: int) -> str:
    """A cue's text from one of its words to another."""
    found = list(tokens(text))
    return text[found[first].start() : found[last].end()] if last < len(found) else text


def _moved(word: Word, by_s: float) -> Word:
    times = {"start_s": round(word.start_s - by_s, 3), "end_s": round(word.end_s - by_s, 3)}
    return word.model_copy(update=times)
