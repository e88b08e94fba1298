"""Which instants each sampling mode looks at, for each shape of TimeFrame."""

import pytest

from sampling.timepoints import Instant, Segment, instants

REPRESENTATIVES = (Instant(100, "r1"), Instant(300, "r2"), Instant(500, "r3"))
TARGETS = tuple(Instant(ms, f"t{ms}") for ms in (0, 100, 200, 300))
FULL = Segment(REPRESENTATIVES, TARGETS, (0, 1001))


def no_rate() -> float:
    raise AssertionError("the frame rate was asked for without need")


def test_representatives_are_taken_as_they_are() -> None:
    assert instants(FULL, "representatives", no_rate) == REPRESENTATIVES


def test_representatives_skips_a_segment_without() -> None:
    assert instants(Segment((), TARGETS, (0, 1000)), "representatives", no_rate) == ()


def test_single_takes_the_middle_representative() -> None:
    assert instants(FULL, "single", no_rate) == (Instant(300, "r2"),)
    assert instants(Segment(REPRESENTATIVES[:2]), "single", no_rate) == (Instant(300, "r2"),)


def test_single_takes_the_middle_of_the_interval_rounded_down() -> None:
    assert instants(Segment((), TARGETS, (0, 1001)), "single", no_rate) == (Instant(500),)


def test_single_falls_back_to_the_middle_target() -> None:
    assert instants(Segment((), TARGETS), "single", no_rate) == (Instant(200, "t200"),)


def test_all_takes_the_targets() -> None:
    assert instants(FULL, "all", no_rate) == TARGETS


def test_all_samples_the_interval_at_the_frame_rate() -> None:
    assert instants(Segment(interval=(1000, 1140)), "all", lambda: 29.97) == tuple(
        Instant(ms) for ms in (1000, 1033, 1067, 1100, 1133)
    )


def test_the_span_is_that_of_the_interval_or_of_the_time_points() -> None:
    assert FULL.span == (0, 1001)
    assert Segment(REPRESENTATIVES, TARGETS).span == (0, 300)
    assert Segment(REPRESENTATIVES).span == (100, 500)
    assert Segment().span == (0, 0)


def test_all_falls_back_to_the_representatives() -> None:
    assert instants(Segment(REPRESENTATIVES), "all", no_rate) == REPRESENTATIVES


@pytest.mark.parametrize("mode", ["single", "all"])
def test_a_segment_that_says_nothing_about_time_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        instants(Segment(), mode, no_rate)  # type: ignore[arg-type]
