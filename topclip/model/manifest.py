"""The manifest: the final list of what a job made."""

from typing import Literal

from pydantic import Field

from topclip.model.base import JsonDict, Model
from topclip.model.clip import Check, ClipCaptions


class ManifestClip(Model):
    """One clip of the manifest; `file` and `thumbnail` are relative to the manifest."""

    n: int
    file: str
    thumbnail: str
    start_s: float
    end_s: float
    frames: int
    width: int
    height: int
    duration_s: float
    size_bytes: int
    sha256: str
    checks: tuple[Check, ...]
    method: Literal["smart", "encode"] = Field("encode", description="Whether frames of the source were copied.")
    copied: int = 0
    note: str | None = Field(None, description="Why nothing was copied of a clip of the source's shape.")
    captions: ClipCaptions | None = Field(None, description="Null where none are wanted, or there is no text.")
    warnings: tuple[str, ...] = Field((), description="What a person should know, such as signs that no font has.")

    @property
    def files(self) -> tuple[str, ...]:
        """All that was made of it, relative to the manifest."""
        return (self.file, self.thumbnail, *((self.captions.srt, self.captions.vtt) if self.captions else ()))


class ManifestFailure(Model):
    """A clip that was planned and could not be made."""

    n: int
    start_s: float
    end_s: float
    code: str
    message: str
    hint: str | None = None


class Manifest(Model):
    """What a job made, from what, and by which version."""

    version: str
    source: JsonDict
    options: JsonDict
    plan: str = Field(description="The plan's file, relative to the manifest.")
    clips: tuple[ManifestClip, ...]
    failed: tuple[ManifestFailure, ...] = ()
