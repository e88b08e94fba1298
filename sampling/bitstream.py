"""What can be told from a compressed picture without decoding it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# ITU-T H.264, table 7-1
SLICE, IDR_SLICE, ENRICHMENT, SEQUENCE_SET, PICTURE_SET, DELIMITER, FILLER = 1, 5, 6, 7, 8, 9, 12
# ITU-T H.265, table 7-1
HEVC_IDR = frozenset({19, 20})
# a key frame of these leaves nothing of the pictures before it
ALWAYS_CLOSED = frozenset({"vp8", "vp9", "av1", "libdav1d", "mjpeg", "prores"})
SLICE_TYPES = 10


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


def shown(codec: str, packet: Any) -> bool:
    """Whether a packet yields a picture; VP8 has some that are only for reference (RFC 6386, 9.1)."""
    return codec != "vp8" or not packet.size or bool(memoryview(packet)[0] >> 4 & 1)


@dataclass(frozen=True)
class Look:
    """
    What the framing and the slice headers of an H.264 picture show.

    :param intact: decoding it could not fail outright: the lengths add up and each slice header makes sense
    :param spare: no other picture needs it, so that it can be left out
    :param plain: it brings no parameter sets that pictures after it need
    """

    intact: bool
    spare: bool
    plain: bool


BROKEN = Look(False, False, False)


def look(packet: Any, nal_length_size: int, parameter_sets: set[int]) -> Look:
    """
    Look at an H.264 picture without decoding it.

    :param parameter_sets: ids of the picture parameter sets known so far; those the packet brings are added
    """
    slices, spare, plain = 0, True, True
    for unit in nal_units(packet, nal_length_size):
        if not unit or unit[0] & 128:
            return BROKEN
        kind = unit[0] & 31
        if kind in (SLICE, IDR_SLICE):
            numbers = exp_golomb(unit[1:9], 3)
            if numbers is None:
                return BROKEN
            macroblock, slice_type, parameter_set = numbers
            if (macroblock and not slices) or slice_type >= SLICE_TYPES or parameter_set not in parameter_sets:
                return BROKEN
            slices += 1
            spare = spare and not unit[0] & 96
        elif kind == PICTURE_SET:
            parameter_sets.update(exp_golomb(unit[1:9], 1) or ())
            plain = False
        elif kind == SEQUENCE_SET:
            plain = False
        elif kind not in (ENRICHMENT, DELIMITER, FILLER):
            return BROKEN
    return Look(slices > 0, spare and plain, plain)


def picture_sets(extradata: bytes) -> set[int]:
    """Ids of the picture parameter sets in an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.2.4.1)."""
    ids: set[int] = set()
    at = 6
    for _ in range(extradata[5] & 31):
        at += 2 + int.from_bytes(extradata[at : at + 2], "big")
    count, at = (extradata[at] if at < len(extradata) else 0), at + 1
    for _ in range(count):
        size = int.from_bytes(extradata[at : at + 2], "big")
        ids.update(exp_golomb(memoryview(extradata)[at + 3 : at + 11], 1) or ())
        at += 2 + size
    return ids


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


def exp_golomb(header: memoryview, count: int) -> list[int] | None:
    """The first unsigned Exp-Golomb numbers (ITU-T H.264, 9.1) in up to eight bytes; ``None`` if they do not fit."""
    bits = int.from_bytes(header, "big") << 8 * (8 - len(header))
    position, numbers = 0, []
    for _ in range(count):
        zeros = 64 - position - (bits & (1 << 64 - position) - 1).bit_length()
        position += 2 * zeros + 1
        if position > 64:
            return None
        numbers.append((bits >> 64 - position & (1 << zeros + 1) - 1) - 1)
    return numbers
