"""What is said in a source, and when: cues as they are shown, and the words in them."""

from itertools import chain
from typing import Literal, Self

from pydantic import Field

from topclip.model.base import Model

Origin = Literal["subtitles", "embedded", "transcriber"]


class Word(Model):
    """A word with its punctuation, [start_s, end_s) in seconds from the source's first frame.

    In scripts that put no spaces between words, each sign is one.
    """

    start_s: float
    end_s: float
    text: str
    is_timed: bool = Field(
        description="Whether its start was told; else it is reckoned within its cue, in proportion to length."
    )
    is_joined: bool = Field(False, description="Whether no space parts it from the word before.")
    ends_sentence: bool = False


class Cue(Model):
    """Words that are shown together, [start_s, end_s). text: as it was given, without any markup, lines parted by \\n."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]


class Transcript(Model):
    """What is said in a source. Cues are sorted by their start, lie within the source, and may overlap."""

    origin: Origin = Field(description="Where it came from: a given file, a track of the source, the transcriber.")
    cues: tuple[Cue, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, sorted by their start."""
        return tuple(sorted(chain.from_iterable(cue.words for cue in self.cues), key=lambda word: word.start_s))


class RawCue(Model):
    """A cue as a file or a track has it: times in milliseconds of its own clock, text with markup."""

    start_ms: int
    end_ms: int
    markup: str
    syntax: Literal["srt", "vtt", "ass", "plain"]

    def moved(self, by_ms: int) -> Self:
        """The cue so much later."""
        return self.model_copy(update={"start_ms": self.start_ms + by_ms, "end_ms": self.end_ms + by_ms})


class TranscriptRef(Model):
    """Where a job's transcript lies in the store. key: None if the source has no text."""

    key: str | None
    origin: Origin | None = None
