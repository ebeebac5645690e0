"""Which ffmpeg is run, and what it can do."""

import os
import shutil
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from topclip.errors import ConfigError

ASK_TIMEOUT_S = 20


def find_ffmpeg(named: str) -> str:
    """The binary that the settings name, else the imageio-ffmpeg wheel's. Raises: ConfigError if it is not there."""
    if named:
        found = shutil.which(named)
        if found is None:
            raise ConfigError(
                f"TOPCLIP_FFMPEG: no program {named}", {"field": "ffmpeg", "hint": "Unset it or name another."}
            )
        return found
    return _bundled()


@lru_cache(maxsize=1)
def _bundled() -> str:
    """The wheel's binary, not run: its package would, to see whether it works, and takes a fifth of a second for it."""
    spec = find_spec("imageio_ffmpeg")
    folders = (spec and spec.submodule_search_locations) or ()
    for path in (path for folder in folders for path in Path(folder, "binaries").glob("ffmpeg-*")):
        if os.access(path, os.X_OK):
            return str(path)
    import imageio_ffmpeg  # noqa: PLC0415 - for a machine that the wheel has no binary for

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def require_libass(binary: str) -> None:
    """Refuse an ffmpeg that cannot draw captions. Raises: ConfigError."""
    if not _has_libass(binary):
        hint = "unset TOPCLIP_FFMPEG to use the one of the imageio-ffmpeg wheel, or ask for captions=side"
        raise ConfigError(f"{binary} was built without libass, which draws captions", {"field": "ffmpeg", "hint": hint})


@lru_cache(maxsize=4)
def _has_libass(binary: str) -> bool:
    try:
        listed = subprocess.run(
            [binary, "-hide_banner", "-filters"], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as err:
        raise ConfigError(f"cannot run {binary}: {err}", {"field": "ffmpeg", "hint": "set TOPCLIP_FFMPEG"}) from err
    return " ass " in listed
