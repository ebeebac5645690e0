"""Subtitle files of any kind that is taken."""

from pathlib import Path

from topclip.captions.files import decode, read_file
from topclip.errors import BadSubtitles
from topclip.media.subtitles import ass_cues
from topclip.model.transcript import RawCue


def read_subtitles(content: bytes, name: str) -> list[RawCue]:
    """The cues of a subtitle file of any kind that is taken. Raises: BadSubtitles."""
    cues = read_file(content, name)
    return ass_cues(decode(content, name).encode(), name) if cues is None else cues


def subtitles_verdict(path: str, name: str) -> dict[str, str | None] | None:
    """The message and the hint of what speaks against a subtitle file, None if nothing does."""
    try:
        read_subtitles(Path(path).read_bytes(), name)
    except BadSubtitles as err:
        return {"message": err.message, "hint": err.hint}
    return None
