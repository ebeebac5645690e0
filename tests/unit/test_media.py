"""The test media themselves: what they are must not be left to chance."""

from pathlib import Path

import pytest

from tests.media import Media


@pytest.mark.parametrize("name", ["base.mp4", "short.webm", "tiny.mpg"])
def test_a_file_is_the_same_whenever_it_is_made(media: Media, tmp_path: Path, name: str) -> None:
    assert Media(tmp_path)(name).read_bytes() == media(name).read_bytes()
