"""How long before a picture reading begins: no longer than it must, since all of it is decoded for nothing."""

from pathlib import Path

import av
import pytest

from tests.media import RATE, Media, run
from topclip.media.probe import probe
from topclip.media.seek import INDEXED_LEAD_S, LEADS_S, seek_lead_s

KEY_S = 2.0


@pytest.mark.parametrize(("name", "start_s", "lead_s"), [
    ("base.mp4", KEY_S * 3 + 0.6, INDEXED_LEAD_S),
    ("base.mp4", KEY_S * 3 + 0.2, INDEXED_LEAD_S),  # the key picture before it is too near for the sound: the one before
    ("base.mp4", 0.4, None),
    ("base.mkv", KEY_S * 3 + 0.6, LEADS_S[0]),
    ("base.ts", KEY_S * 3 + 0.6, LEADS_S[0]),
])  # fmt: skip
def test_as_near_as_the_container_allows(
    media: Media, tmp_path: Path, name: str, start_s: float, lead_s: float | None
) -> None:
    path = tmp_path / name
    run("-i", media("base.mp4"), "-c", "copy", path)
    info = probe(path, max_pixels=1 << 24)
    at = info.video.start_pts + round(start_s / info.video.tick)
    assert seek_lead_s(path, info, at, 1 << 24) == lead_s


def test_an_mp4_is_decoded_from_the_last_key_picture_that_leaves_the_sound_its_lead(media: Media) -> None:
    info = probe(media("base.mp4"), max_pixels=1 << 24)
    at = info.video.start_pts + round((KEY_S * 3 + 0.6) / info.video.tick)
    lead_s = seek_lead_s(media("base.mp4"), info, at, 1 << 24)
    assert lead_s is not None
    with av.open(str(media("base.mp4"))) as container:
        stream = container.streams.video[0]
        container.seek(at - round(lead_s / info.video.tick), stream=stream)
        frame = next(container.decode(stream))
    assert frame.pts is not None
    assert round((frame.pts - info.video.start_pts) * info.video.tick * RATE) == KEY_S * 3 * RATE
