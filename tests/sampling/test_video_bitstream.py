"""What is told from compressed pictures: which can be left out, and at which decoding may stop."""

import pytest

from sampling.bitstream import Look, exp_golomb, length_size, look, picture_sets

# lengths in four bytes; slice headers whose first three numbers are 0, 6 (B) or 5 (P), and 0
B_SPARE = b"\0\0\0\x04\x01\x9e\x61\x74"
B_NEEDED = b"\0\0\0\x04\x41\x9e\x61\x74"
KEY = b"\0\0\0\x04\x65\x88\x80\x43"
MESSAGE = b"\0\0\0\x02\x06\x05"
CONFIGURATION = bytes([1, 100, 0, 30, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 2, 0, 2, 0x68, 0xEB, 0, 2, 0x68, 0x4B])


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (B_SPARE, Look(True, True, True)),
        (MESSAGE + B_SPARE, Look(True, True, True)),
        (B_NEEDED, Look(True, False, True)),
        (KEY, Look(True, False, True)),
        (B_SPARE + B_NEEDED, Look(True, False, True)),
        (b"\0\0\0\x02\x67\x64" + B_SPARE, Look(True, False, False)),
        (MESSAGE, Look(False, True, True)),
        (B_SPARE[:-1], Look(False, False, False)),
        (B_SPARE + b"\0\0", Look(False, False, False)),
        (b"\0\0\0\0" + B_SPARE, Look(False, False, False)),
        (b"\0\0\0\x04\x81\x9e\x61\x74", Look(False, False, False)),
        (b"\0\0\0\x04\x01\x00\x00\x01", Look(False, False, False)),
    ],
)
def test_a_look_at_a_packet(packet: bytes, expected: Look) -> None:
    assert look(packet, 4, {0}) == expected


def test_a_slice_of_an_unknown_parameter_set_is_broken_until_the_set_comes() -> None:
    known = {1}
    assert not look(B_SPARE, 4, known).intact
    assert look(b"\0\0\0\x02\x68\xeb" + B_SPARE, 4, known) == Look(True, False, False)
    assert look(B_SPARE, 4, known).intact


def test_the_configuration_names_lengths_and_parameter_sets() -> None:
    assert length_size("h264", CONFIGURATION) == 4
    assert length_size("h264", b"\0\0\0\x01\x67") == 0
    assert length_size("vp9", CONFIGURATION) == 0
    assert picture_sets(CONFIGURATION) == {0, 1}


def test_exp_golomb_numbers() -> None:
    assert exp_golomb(memoryview(b"\xa6\x42\x98\xe2\x04\x8a"), 7) == [0, 1, 2, 3, 4, 5, 6]
    assert exp_golomb(memoryview(bytes(8)), 1) is None
