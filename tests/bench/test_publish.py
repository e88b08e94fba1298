"""The page of benchmarks: it is the one that the results in the repository make, and says where it has none."""

import re
from pathlib import Path

import pytest

from bench.publish import MEASUREMENTS, PAGE, RESULTS, TARGETS, Target, page
from bench.results import Results, read
from bench.samples import Figure


def test_the_page_is_made_of_the_results_beside_it() -> None:
    assert PAGE.read_text() == page(RESULTS)


def test_what_the_page_shows_is_there() -> None:
    for shown in re.findall(r"!\[[^]]*]\(([^)]+)\)", PAGE.read_text()):
        assert (PAGE.parent / shown).stat().st_size > 1000


def test_results_are_of_the_commands_named_and_no_quick_ones() -> None:
    for name, command in MEASUREMENTS.items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            found = read(file)
            assert found.command[: len(command.split())] == command.split()
            assert not found.quick


@pytest.mark.parametrize(
    ("samples", "least", "words"),
    [
        ((1.2, 1.3, 1.4), True, "at least 1.25 | 1.30 (1.20 to 1.40) | yes |"),
        ((1.0, 1.1, 1.4), True, "at least 1.25 | 1.10 (1.00 to 1.40) | no |"),
        ((1.0, 1.1, 1.4), False, "at most 1.25 | 1.10 (1.00 to 1.40) | yes |"),
    ],
)
def test_a_target_says_whether_it_is_reached(samples: tuple[float, ...], least: bool, words: str) -> None:
    results = Results(["x"], False, {"a.b": Figure("x", samples)}, about={"none": "needed"})
    assert Target("what", "here", "a.b", 1.25, least).row({"here": results}) == f"| what | {words}"
    assert "not measured" in Target("what", "there", "a.b", 1.25, least).row({"here": results})


def test_targets_are_of_measurements_that_are_made() -> None:
    for target in TARGETS:
        assert MEASUREMENTS[target.section].split()[0] == target.figure.partition(".")[0]


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    assert page(tmp_path).count("Not measured yet.") == len(MEASUREMENTS)
