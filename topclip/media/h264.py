"""The layer of H.264 that a cut without decoding needs: units, parameter sets, the first words of a slice.

Pure: bytes in, values out. Whatever is malformed raises ValueError, since sources are hostile.
Source: ITU-T H.264 (7.3.1, 7.3.2.1, 7.3.2.2, 7.3.3) and ISO/IEC 14496-15 (5.3.3, the avcC record).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SLICE, IDR, SEI, SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM, FILLER = 1, 5, 6, 7, 8, 9, 10, 11, 12
KEPT = frozenset({SLICE, IDR, SEI, FILLER})
DROPPED = frozenset({SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM})
"""What a sample of an mp4 does not hold: parameter sets lie in its header, and its table says where a sample ends."""
LENGTH_BYTES = 4
EXTENDED_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose SPS tells chroma and depth; and in the avcC all but 66, 77 and 88 of them do."""
MOST_ZEROS = 31
HEADER_BYTES = 24
"""Of a slice: more than its first four words take."""
START_CODE = b"\0\0\1"


class _Bits:
    """Reads a payload bit by bit."""

    def __init__(self, payload: bytes) -> None:
        self._value, self._left = int.from_bytes(payload), 8 * len(payload)

    def u(self, n: int) -> int:
        """The next n bits, unsigned."""
        if n > self._left:
            raise ValueError("a unit ends too early")
        self._left -= n
        return self._value >> self._left & ((1 << n) - 1)

    def number(self) -> int:
        """The next Exp-Golomb number."""
        n = 0
        while not self.u(1):
            n += 1
            if n > MOST_ZEROS:
                raise ValueError("a number is too large")
        return (1 << n) - 1 + self.u(n)

    def signed(self) -> int:
        """The next signed Exp-Golomb number."""
        n = self.number()
        return (n + 1) // 2 if n % 2 else -(n // 2)


@dataclass(frozen=True)
class Sps:
    """What a sequence parameter set says of its pictures. level: level_idc, ten times the level."""

    id: int
    profile: int
    level: int
    chroma_format: int
    bit_depths: tuple[int, int]
    frame_num_bits: int
    may_have_gaps: bool
    is_progressive: bool


@dataclass(frozen=True)
class Pps:
    """What a picture parameter set says."""

    id: int
    sps_id: int
    n_slice_groups: int


@dataclass(frozen=True)
class Slice:
    """The first words of a slice."""

    pps_id: int
    frame_num: int


@dataclass(frozen=True)
class ParameterSets:
    """The parameter sets of a stream, as units, and how its packets part their units: length_bytes, 0 by start codes."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    length_bytes: int

    @property
    def ids(self) -> set[int]:
        """All ids that are taken."""
        return {parse_sps(unit).id for unit in self.sps} | {parse_pps(unit).id for unit in self.pps}


def parse_sps(unit: bytes) -> Sps:
    """Read a sequence parameter set. Raises: ValueError."""
    bits = _Bits(_payload(unit))
    profile, _, level = bits.u(8), bits.u(8), bits.u(8)
    sps_id = bits.number()
    chroma_format, depths = 1, (8, 8)
    if profile in EXTENDED_PROFILES:
        chroma_format, depths = _chroma(bits)
    frame_num_bits = 4 + bits.number()
    if frame_num_bits > 16:
        raise ValueError("frame numbers of more than 16 bits")
    _skip_picture_order(bits)
    bits.number()  # reference frames
    may_have_gaps = bool(bits.u(1))
    bits.number(), bits.number()  # width, height
    return Sps(sps_id, profile, level, chroma_format, depths, frame_num_bits, may_have_gaps, bool(bits.u(1)))


def _chroma(bits: _Bits) -> tuple[int, tuple[int, int]]:
    chroma_format = bits.number()
    if chroma_format == 3:
        bits.u(1)
    depths = 8 + bits.number(), 8 + bits.number()
    bits.u(1)
    if bits.u(1):
        for n in range(8 if chroma_format != 3 else 12):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if n < 6 else 64)
    return chroma_format, depths


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    match bits.number():
        case 0:
            bits.number()
        case 1:
            bits.u(1), bits.signed(), bits.signed()
            for _ in range(min(256, bits.number())):
                bits.signed()
        case 2:
            return
        case _:
            raise ValueError("an unknown picture order")


def parse_pps(unit: bytes) -> Pps:
    """Read the start of a picture parameter set. Raises: ValueError."""
    bits = _Bits(_payload(unit))
    pps_id, sps_id = bits.number(), bits.number()
    bits.u(2)
    return Pps(pps_id, sps_id, bits.number() + 1)


def parse_slice(unit: bytes, frame_num_bits: int) -> Slice:
    """Read the first words of a slice of a stream without separate colour planes. Raises: ValueError."""
    bits = _Bits(_payload(unit[:HEADER_BYTES]))
    bits.number(), bits.number()  # first macroblock, type
    return Slice(bits.number(), bits.u(frame_num_bits))


def _payload(unit: bytes) -> bytes:
    """A unit without its header and the bytes that keep start codes out of it."""
    return bytes(unit[1:]).replace(b"\0\0\3", b"\0\0")


def unit_type(unit: bytes) -> int:
    """nal_unit_type. Raises: ValueError of an empty unit."""
    if not unit:
        raise ValueError("an empty unit")
    return unit[0] & 31


def is_reference(unit: bytes) -> bool:
    """Whether other pictures may rest on this one's slice."""
    return bool(unit[0] & 0x60)


def units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The units of a packet. length_bytes: size of the length before each, 0: parted by start codes. Raises: ValueError."""
    return _by_start_codes(data) if length_bytes == 0 else _by_lengths(data, length_bytes)


def _by_lengths(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size, at = int.from_bytes(data[at : at + length_bytes]), at + length_bytes
        if size == 0 or at + size > len(data):
            raise ValueError("a unit's length leads out of its packet")
        yield data[at : at + size]
        at += size


def _by_start_codes(data: bytes) -> Iterator[bytes]:
    at = data.find(START_CODE)
    if at < 0:
        raise ValueError("no start code")
    while at >= 0:
        following = data.find(START_CODE, at + 3)
        unit = data[at + 3 : following if following >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        at = following


def read_extradata(extradata: bytes | None) -> ParameterSets:
    """The parameter sets in a stream's header, an avcC record or units with start codes. Raises: ValueError."""
    if not extradata:
        raise ValueError("no parameter sets in the header")
    if extradata[0] != 1:
        found = list(units(extradata, 0))
        return ParameterSets(_only(found, SPS), _only(found, PPS), 0)
    if len(extradata) < 7:
        raise ValueError("the avcC record ends too early")
    sps, at = _counted(extradata, extradata[5] & 31, 6)
    if at >= len(extradata):
        raise ValueError("the avcC record ends too early")
    pps, _ = _counted(extradata, extradata[at], at + 1)
    return ParameterSets(sps, pps, 1 + (extradata[4] & 3))


def _only(found: Sequence[bytes], kind: int) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(unit for unit in found if unit_type(unit) == kind))


def _counted(data: bytes, n: int, at: int) -> tuple[tuple[bytes, ...], int]:
    found = []
    for _ in range(n):
        size, at = int.from_bytes(data[at : at + 2]), at + 2
        if size == 0 or at + size > len(data):
            raise ValueError("the avcC record ends too early")
        found.append(data[at : at + size])
        at += size
    return tuple(found), at


def make_avcc(sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """The avcC record of a stream that uses all of these sets, the first SPS being the one that the profile is told by."""
    level = max(sps, key=lambda unit: unit[3])[3]
    head = bytes([1, sps[0][1], sps[0][2], level, 0xFC | (LENGTH_BYTES - 1), 0xE0 | len(sps)])
    body = b"".join(_sized(unit, 2) for unit in sps) + bytes([len(pps)]) + b"".join(_sized(unit, 2) for unit in pps)
    first = parse_sps(sps[0])
    if first.profile not in EXTENDED_PROFILES:
        return head + body
    luma, chroma = first.bit_depths
    return head + body + bytes([0xFC | first.chroma_format, 0xF8 | (luma - 8), 0xF8 | (chroma - 8), 0])


def make_sample(kept: Sequence[bytes]) -> bytes:
    """Units as a sample of an mp4."""
    return b"".join(_sized(unit, LENGTH_BYTES) for unit in kept)


def _sized(unit: bytes, length_bytes: int) -> bytes:
    return len(unit).to_bytes(length_bytes) + unit
