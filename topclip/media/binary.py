"""Which ffmpeg is run."""

import shutil

from topclip.errors import ConfigError


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
