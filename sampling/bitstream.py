"""What can be told from a compressed picture without decoding it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# ITU-T H.264, table 7-1
SLICE, IDR_SLICE, ENRICHMENT, SEQUENCE_SET, PICTURE_SET, DELIMITER, FILLER = 1, 5, 6, 7, 8, 9, 12
# ITU-T H.265, table 7-1
HEVC_IDR = frozenset({19, 20})
# a key frame of these leaves nothing of the pictures before it
ALWAYS_CLOSED = frozenset({"vp9", "av1", "libdav1d", "mjpeg", "prores"})
SLICE_TYPES = 10
# profiles whose sequence parameter sets say more (ITU-T H.264, 7.3.2.1.1)
HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


def length_size(codec: str, extradata: bytes | None) -> int:
    """
    How many bytes give the length of each NAL unit (ISO/IEC 14496-15, 5.2.4.1 and 8.3.3.1).

    :returns: bytes; 0 if the codec has no NAL units or marks them by start codes
    """
    if not extradata or extradata[0] != 1:
        return 0
    if codec == "h264" and len(extradata) > 4:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) > 21:
        return (extradata[21] & 3) + 1
    return 0


def closes(codec: str, packet: Any, nal_length_size: int) -> bool:
    """Whether no picture that follows this key frame in decoding order looks back past it."""
    if codec in ALWAYS_CLOSED:
        return True
    if not nal_length_size:
        return False
    units = list(nal_units(packet, nal_length_size))
    if codec == "h264":
        return any(unit[0] & 31 == IDR_SLICE for unit in units if unit)
    return any(unit[0] >> 1 & 63 in HEVC_IDR for unit in units if unit)


@dataclass(frozen=True)
class Look:
    """
    What the framing and the slice headers of an H.264 picture show.

    :param intact: decoding it could not fail outright: the lengths add up and each slice header makes sense
    :param spare: no other picture needs it, so that it can be left out
    :param plain: it brings no parameter sets that pictures after it need
    :param number: its frame_num, which counts the reference pictures before it
    :param reference: whether it is counted itself
    :param restarts: whether counting starts anew with it
    """

    intact: bool
    spare: bool = False
    plain: bool = False
    number: int = 0
    reference: bool = False
    restarts: bool = False


BROKEN = Look(intact=False)


@dataclass
class ParameterSets:
    """
    What is known of an H.264 stream's parameter sets.

    :param pictures: ids of the picture parameter sets
    :param number_bits: how many bits of a slice header frame_num takes; 0 if that can't be told
    """

    pictures: set[int]
    number_bits: int

    @classmethod
    def of(cls, configuration: bytes) -> "ParameterSets":
        """Those of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.2.4.1)."""
        data = memoryview(configuration)
        sequences, at = _counted(data, 6, configuration[5] & 31)
        pictures, _ = _counted(data, at + 1, configuration[at] if at < len(configuration) else 0)
        bits = {number_bits(unit) for unit in sequences}
        ids = {number for unit in pictures for number in exp_golomb(unit[1:9], 1) or ()}
        return cls(ids, bits.pop() if len(bits) == 1 else 0)


def look(packet: Any, nal_length_size: int, known: ParameterSets) -> Look:
    """
    Look at an H.264 picture without decoding it.

    :param known: the parameter sets so far; those that the packet brings are added
    """
    slices, spare, plain, number, restarts = 0, True, True, 0, False
    for unit in nal_units(packet, nal_length_size):
        if not unit or unit[0] & 128:
            return BROKEN
        kind = unit[0] & 31
        if kind in (SLICE, IDR_SLICE):
            numbers = exp_golomb(unescaped(unit[1:12])[:8], 3, known.number_bits)
            if numbers is None:
                return BROKEN
            macroblock, slice_type, picture_set, number = numbers
            if (macroblock and not slices) or slice_type >= SLICE_TYPES or picture_set not in known.pictures:
                return BROKEN
            slices += 1
            spare = spare and not unit[0] & 96
            restarts = kind == IDR_SLICE
        elif kind == PICTURE_SET:
            known.pictures.update(exp_golomb(unit[1:9], 1) or ())
            plain = False
        elif kind == SEQUENCE_SET:
            if number_bits(unit) != known.number_bits:
                return BROKEN
            plain = False
        elif kind not in (ENRICHMENT, DELIMITER, FILLER):
            return BROKEN
    return Look(slices > 0, spare and plain, plain, number, not spare, restarts)


def number_bits(sequence_set: memoryview) -> int:
    """How many bits frame_num takes (ITU-T H.264, 7.3.2.1.1); 0 if that can't be told."""
    bits = Bits(unescaped(sequence_set[1:]))
    try:
        profile = bits.take(8)
        bits.take(16)
        bits.golomb()
        if profile in HIGH:
            chroma = bits.golomb()
            if chroma == 3 and bits.take(1):
                return 0  # slices of separate colour planes have another header
            bits.golomb()
            bits.golomb()
            bits.take(1)
            if bits.take(1):
                for place in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if place < 6 else 64)
        return bits.golomb() + 4
    except EOFError:
        return 0


def _skip_scaling_list(bits: "Bits", size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code & 1 else -(code // 2))) & 255
            last = following or last


def _counted(data: memoryview, at: int, count: int) -> tuple[list[memoryview], int]:
    """The units that follow, each after its length in two bytes; and where they end."""
    units = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        units.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return units, at


def unescaped(payload: memoryview) -> bytes:
    """A payload without the bytes that keep it from looking like a start code (ITU-T H.264, 7.4.1)."""
    return bytes(payload).replace(b"\0\0\3", b"\0\0")


class Bits:
    """Bits one after the other; `EOFError` at their end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The number that the next bits make."""
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """The next unsigned Exp-Golomb number (ITU-T H.264, 9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def nal_units(packet: Any, nal_length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet; an empty one stands for framing that does not add up."""
    data = memoryview(packet)
    at, end = 0, len(data)
    while at < end:
        start = at + nal_length_size
        at = start + int.from_bytes(data[at:start], "big")
        if at > end or at == start:
            yield data[:0]
            return
        yield data[start:at]


def exp_golomb(header: bytes | memoryview, count: int, further: int = 0) -> list[int] | None:
    """
    The first unsigned Exp-Golomb numbers (ITU-T H.264, 9.1) in up to eight bytes; ``None`` if they do not fit.

    :param further: bits after them that make one more number
    """
    bits = int.from_bytes(header, "big") << 8 * (8 - len(header))
    position, numbers = 0, []
    for _ in range(count):
        zeros = 64 - position - (bits & (1 << 64 - position) - 1).bit_length()
        position += 2 * zeros + 1
        if position > 64:
            return None
        numbers.append((bits >> 64 - position & (1 << zeros + 1) - 1) - 1)
    if further:
        position += further
        if position > 64:
            return None
        numbers.append(bits >> 64 - position & (1 << further) - 1)
    return numbers
