"""Files that were damaged on purpose, each by its seed and number alone: the same case is the same bytes on every machine that
has the same ffmpeg.
"""

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from topclip.media.binary import find_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25")
AAC = ("-c:a", "aac", "-b:a", "64k")
CONTAINERS: dict[str, tuple[str, ...]] = {
    "a.mp4": (*H264, *AAC),
    "fragmented.mp4": (*H264, *AAC, "-movflags", "frag_keyframe+empty_moov"),
    "a.mov": ("-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    "a.mkv": (*H264, "-bf", "2", "-c:a", "flac"),
    "a.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-c:a", "libopus"),
    "a.ts": (*H264, *AAC, "-f", "mpegts"),
    "a.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "a.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "a.flv": (*H264, *AAC),
    "a.ogg": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "a.gif": ("-an", "-vf", "fps=10,scale=160:-2"),
    "a.mp3": ("-vn", "-c:a", "libmp3lame"),
    "a.wav": ("-vn", "-c:a", "pcm_s16le"),
}
TEXTS = {
    "a.srt": "1\n00:00:00,000 --> 00:00:02,000\n<b>One</b> & two\n\n2\n00:00:02,000 --> 00:00:03,000\nthree\n",
    "a.vtt": "WEBVTT\n\n00:00.000 --> 00:02.000\nOne\n",
    "a.ass": "[Script Info]\nScriptType: v4.00+\n\n[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,Default,,0,0,0,,One\n",
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile 'a.mp4'\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a.svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
}
LENGTH_S = 3
EXTREMES = tuple(
    bytes.fromhex(text) for text in ("ffffffff", "7fffffff", "ffffff7f", "80000000", "00000000", "00000001")
)
ATOMS = tuple(
    b"moov trak stts stsz stco stsc ctts mdhd mvhd stsd avc1 elst dref hdlr tfdt tfhd "
    b"RIFF LIST strf strh avih movi idx1".split()
)


def make_sources(folder: Path) -> dict[str, bytes]:
    """The sound files that are damaged, by name: small, three seconds, in all containers."""
    for name, codec in CONTAINERS.items():
        picture = ("-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d={LENGTH_S}")
        sound = ("-f", "lavfi", "-i", f"sine=f=440:d={LENGTH_S}:r=44100")
        same = ("-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1")
        argv = [find_ffmpeg(""), "-v", "error", "-nostdin", "-y", *picture, *sound, *codec, *same, str(folder / name)]
        subprocess.run(argv, check=True)
    return {name: (folder / name).read_bytes() for name in CONTAINERS} | {k: v.encode() for k, v in TEXTS.items()}


def mutated(sources: dict[str, bytes], seed: int, n: int) -> tuple[str, bytes]:
    """Case n of a seed: the name of its source with what was done to it, and the bytes. One of fifty is left whole."""
    dice = random.Random(f"{seed}:{n}")
    names = sorted(CONTAINERS) * 3 + sorted(TEXTS)
    name = dice.choice(names)
    content, done = bytearray(sources[name]), []
    if dice.random() > 0.02:
        for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
            change = dice.choice(CHANGES)
            content = change(content, dice, sources) if content else content
            done.append(change.__name__)
    return f"{name}:{'+'.join(done)}", bytes(content)


Content = bytearray
Sources = dict[str, bytes]


def _where(content: Content, dice: random.Random) -> int:
    """A place, half of the time in the head or the tail, where the tables are."""
    size, near = len(content), min(len(content), 2048)
    kind = dice.random()
    if kind < 0.35:
        return dice.randrange(near)
    return size - 1 - dice.randrange(near) if kind < 0.5 else dice.randrange(size)


def _span(content: Content, dice: random.Random) -> tuple[int, int]:
    start = _where(content, dice)
    return start, min(len(content), start + dice.choice((1, 4, 16, 188, 1024, 8192)))


def flip_bytes(content: Content, dice: random.Random, _: Sources) -> Content:
    """Bytes become others."""
    for _ in range(dice.choice((1, 4, 16, 64, 512))):
        content[_where(content, dice)] = dice.randrange(256)
    return content


def flip_bits(content: Content, dice: random.Random, _: Sources) -> Content:
    """Bits are turned."""
    for _ in range(dice.choice((1, 2, 8, 64))):
        content[_where(content, dice)] ^= 1 << dice.randrange(8)
    return content


def truncate(content: Content, dice: random.Random, _: Sources) -> Content:
    """The end is missing."""
    return content[: dice.randrange(len(content) + 1)]


def behead(content: Content, dice: random.Random, _: Sources) -> Content:
    """The beginning is missing."""
    return content[_where(content, dice) :]


def delete_span(content: Content, dice: random.Random, _: Sources) -> Content:
    """A piece is missing."""
    start, end = _span(content, dice)
    return content[:start] + content[end:]


def repeat_span(content: Content, dice: random.Random, _: Sources) -> Content:
    """A piece comes again."""
    start, end = _span(content, dice)
    return content[:end] + content[start:end] * dice.choice((1, 2, 50)) + content[end:]


def swap_spans(content: Content, dice: random.Random, _: Sources) -> Content:
    """Two pieces change places."""
    (a, b), (c, d) = sorted((_span(content, dice), _span(content, dice)))
    return content if b > c else content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def zero_span(content: Content, dice: random.Random, _: Sources) -> Content:
    """A piece is zeros."""
    start, end = _span(content, dice)
    content[start:end] = bytes(end - start)
    return content


def extreme_field(content: Content, dice: random.Random, _: Sources) -> Content:
    """Four bytes become a length or a count that is as large, or as small, as it can be."""
    for _ in range(dice.choice((1, 1, 3))):
        at = _where(content, dice)
        content[at : at + 4] = dice.choice(EXTREMES)
    return content


def extreme_atom(content: Content, dice: random.Random, _: Sources) -> Content:
    """The same just before or after a name that tables have: boxes of MP4, chunks of AVI and WAV."""
    found = [at for atom in ATOMS if (at := content.find(atom)) >= 4]
    if not found:
        return extreme_field(content, dice, {})
    at = dice.choice(found) + dice.choice((-4, 4, 8, 12, 16, 20, 24, 28, 32))
    content[at : at + 4] = dice.choice(EXTREMES)
    return content


def count_wrongly(content: Content, dice: random.Random, _: Sources) -> Content:
    """A number is doubled, halved, or one off."""
    at = max(0, min(_where(content, dice), len(content) - 4))
    order = dice.choice("<>")
    if len(content) >= 4:
        (value,) = struct.unpack_from(f"{order}I", content, at)
        struct.pack_into(f"{order}I", content, at, dice.choice((value * 2, value // 2, value + 1, value - 1)) % 2**32)
    return content


def other_head(content: Content, dice: random.Random, sources: Sources) -> Content:
    """The beginning is that of another format."""
    other = sources[dice.choice(sorted(sources))]
    length = dice.choice((4, 12, 64, 512, 4096))
    return bytearray(other[:length]) + content[length:]


def graft(content: Content, dice: random.Random, sources: Sources) -> Content:
    """A piece of another file lies in the middle."""
    other = sources[dice.choice(sorted(sources))]
    at, start = _where(content, dice), dice.randrange(len(other))
    return content[:at] + other[start : start + 4096] + content[at:]


CHANGES: tuple[Callable[[Content, random.Random, Sources], Content], ...] = (
    *(flip_bytes, flip_bits, truncate, behead, delete_span, repeat_span, swap_spans, zero_span),
    *(extreme_field, extreme_atom, extreme_atom, count_wrongly, other_head, graft),
)
