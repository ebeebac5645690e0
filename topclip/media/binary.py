"""Which ffmpeg is run, and what it can do."""

import shutil
import subprocess
from functools import lru_cache

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
    import imageio_ffmpeg  # noqa: PLC0415 - takes a while, and is not needed where another is named

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
