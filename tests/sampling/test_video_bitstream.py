"""What is told from compressed pictures: which can be left out, and at which decoding may stop."""

import pytest

from sampling.bitstream import (
    BROKEN,
    Look,
    ParameterSets,
    closes,
    exp_golomb,
    length_size,
    look,
    number_bits,
    unescaped,
)

# lengths in four bytes; slice headers whose first three numbers are 0, 6 (B) or 7 (I), and 0; then frame_num
B_SPARE = b"\0\0\0\x04\x01\x9e\x61\x74"
B_NEEDED = b"\0\0\0\x04\x41\x9e\x61\x74"
KEY = b"\0\0\0\x04\x65\x88\x80\x43"
MESSAGE = b"\0\0\0\x02\x06\x05"
SEQUENCE = bytes.fromhex("6764000bacd94304e840")  # by x264; frame_num has 4 bits
PICTURES = [b"\x68\xeb", b"\x68\x4b"]
CONFIGURATION = bytes(
    [1, 100, 0, 11, 0xFF, 0xE1, 0, len(SEQUENCE), *SEQUENCE, 2, 0, 2, *PICTURES[0], 0, 2, *PICTURES[1]]
)


def framed(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (B_SPARE, Look(True, spare=True, plain=True, number=3)),
        (MESSAGE + B_SPARE, Look(True, spare=True, plain=True, number=3)),
        (B_NEEDED, Look(True, plain=True, number=3, reference=True)),
        (KEY, Look(True, plain=True, number=0, reference=True, restarts=True)),
        (B_SPARE + B_NEEDED, Look(True, plain=True, number=3, reference=True)),
        (framed(SEQUENCE) + B_SPARE, Look(True, number=3)),
        (framed(SEQUENCE[:4]) + B_SPARE, BROKEN),
        (MESSAGE, Look(False, spare=True, plain=True)),
        (B_SPARE[:-1], BROKEN),
        (B_SPARE + b"\0\0", BROKEN),
        (b"\0\0\0\0" + B_SPARE, BROKEN),
        (framed(b"\x81\x9e\x61\x74"), BROKEN),
        (framed(b"\x01\x00\x00\x01"), BROKEN),
        (framed(b"\x02\x9e\x61\x74") + B_SPARE, BROKEN),  # a slice in partitions
    ],
)
def test_a_look_at_a_packet(packet: bytes, expected: Look) -> None:
    assert look(packet, 4, ParameterSets({0}, 4)) == expected


def test_a_key_frame_closes_if_it_is_an_idr_picture() -> None:
    assert closes("h264", KEY, 4)
    assert not closes("h264", B_NEEDED, 4)
    assert not closes("h264", B_NEEDED[:-1], 4)
    assert closes("hevc", framed(b"\x26\x01"), 4)
    assert not closes("hevc", framed(b"\x2a\x01"), 4)  # pictures after a CRA may look back past it
    assert not closes("h264", KEY, 0)
    assert closes("vp9", b"", 0)


def test_a_slice_of_an_unknown_parameter_set_is_broken_until_the_set_comes() -> None:
    known = ParameterSets({1}, 4)
    assert not look(B_SPARE, 4, known).intact
    assert look(framed(PICTURES[0]) + B_SPARE, 4, known) == Look(True, number=3)
    assert look(B_SPARE, 4, known).intact


def test_the_configuration_names_lengths_and_parameter_sets() -> None:
    assert length_size("h264", CONFIGURATION) == 4
    assert length_size("h264", b"\0\0\0\x01\x67") == 0
    assert length_size("vp9", CONFIGURATION) == 0
    assert ParameterSets.of(CONFIGURATION) == ParameterSets({0, 1}, 4)
    assert ParameterSets.of(CONFIGURATION[:9]) == ParameterSets(set(), 0)


def bits(text: str) -> bytes:
    text = text.replace(" ", "")
    return int(text, 2).to_bytes(-(-len(text) // 8), "big") if not len(text) % 8 else bits(text + "0")


@pytest.mark.parametrize(
    ("sequence_set", "expected"),
    [
        ("01000010 00000000 00011110 1 011", 6),  # baseline: the number follows at once
        ("01100100 00000000 00011110 1 010 1 1 0 0 00101", 8),  # high
        ("01100100 00000000 00011110 1 010 1 1 0 1 1 000010001 0000000 011", 6),  # one scaling list, the default one
        ("01100100 00000000 00011110 1 010 1 1 0 1 0 1 1111111111111111 000000 1", 4),  # one that repeats itself
        ("11110100 00000000 00011110 1 00100 1 1 1 0 0 011", 0),  # separate colour planes
        ("01100100 00000000", 0),
    ],
)
def test_the_length_of_frame_num(sequence_set: str, expected: int) -> None:
    assert number_bits(memoryview(b"\x67" + bits(sequence_set))) == expected


def test_bytes_against_start_codes_are_left_out() -> None:
    assert unescaped(memoryview(b"\1\0\0\3\1\0\0\3\0\0\3")) == b"\1\0\0\1\0\0\0\0"


def test_exp_golomb_numbers() -> None:
    assert exp_golomb(b"\xa6\x42\x98\xe2\x04\x8a", 7) == [0, 1, 2, 3, 4, 5, 6]
    assert exp_golomb(b"\xa6\x42\x98\xe2\x04\x8a", 2, further=5) == [0, 1, 0b01100]
    assert exp_golomb(bytes(8), 1) is None
    assert exp_golomb(b"\xff" * 8, 60, further=5) is None
