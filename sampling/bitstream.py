"""What can be told from a compressed picture without decoding it."""

from collections.abc import Iterator
from typing import Any

# ITU-T H.264, table 7-1
SLICE, IDR_SLICE, ENRICHMENT, DELIMITER, FILLER = 1, 5, 6, 9, 12
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


def disposable(packet: Any, nal_length_size: int) -> bool:
    """
    Whether an H.264 picture can be left out unseen: no other picture needs it, and decoding it could not fail.

    Decoding stops for good at a packet whose framing or slice header is broken, so a picture with such damage has to
    go through the decoder even if nobody wants it.
    """
    return passable(packet, nal_length_size, slices=(SLICE,), reference=False)


def passable(
    packet: Any, nal_length_size: int, slices: tuple[int, ...] = (SLICE, IDR_SLICE), reference: bool = True
) -> bool:
    """Whether decoding an H.264 picture could not fail outright, as far as its framing and slice headers show."""
    found = False
    for unit in nal_units(packet, nal_length_size):
        if not unit or unit[0] & 128:
            return False
        kind = unit[0] & 31
        if kind in slices:
            if (unit[0] & 96 and not reference) or not _slice_header_sound(unit[1:9], first=not found):
                return False
            found = True
        elif kind not in (ENRICHMENT, DELIMITER, FILLER):
            return False
    return found


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


def _slice_header_sound(header: memoryview, first: bool) -> bool:
    """The first three numbers of a slice header (ITU-T H.264, 7.3.3): first macroblock, slice type, parameter set."""
    bits = int.from_bytes(header, "big") << 8 * (8 - len(header))
    position = 0
    numbers = []
    for _ in range(3):
        zeros = 64 - position - (bits & (1 << 64 - position) - 1).bit_length()
        if position + 2 * zeros + 1 > 64:
            return False
        position += 2 * zeros + 1
        numbers.append((bits >> 64 - position & (1 << zeros + 1) - 1) - 1)
    macroblock, kind, parameter_set = numbers
    return (macroblock == 0) == first and kind < SLICE_TYPES and parameter_set == 0
