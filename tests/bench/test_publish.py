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
        ((1.25, 1.3, 1.4, 1.5, 1.5), True, "at least 1.25 | 1.40 (1.25 to 1.50) | yes |"),
        ((1.2, 1.3, 1.4, 1.5, 1.5), True, "at least 1.25 | 1.40 (1.20 to 1.50) | by the median |"),
        ((1.0, 1.1, 1.2, 1.2, 1.4), True, "at least 1.25 | 1.20 (1.00 to 1.40) | no |"),
        ((1.0, 1.1, 1.2, 1.2, 1.4), False, "at most 1.25 | 1.20 (1.00 to 1.40) | by the median |"),
        ((1.0, 1.1, 1.2, 1.2, 1.2), False, "at most 1.25 | 1.20 (1.00 to 1.20) | yes |"),
        # Of few samples, the range holds the true median less often.
        ((1.0, 1.1, 1.2), False, "at most 1.25 | 1.10 (1.00 to 1.20, at 75%) | yes |"),
        # One has no range.
        ((1.1,), False, "at most 1.25 | 1.10 | by one sample |"),
        ((1.1,), True, "at least 1.25 | 1.10 | no |"),
    ],
)
def test_a_target_says_whether_it_is_reached(samples: tuple[float, ...], least: bool, words: str) -> None:
    results = Results(["x"], False, {"a.b": Figure("x", samples)}, about={"none": "needed"})
    assert Target("what", "here", "a.b", 1.25, least).row({"here": results}) == f"| what | {words}"
    assert "not measured" in Target("what", "there", "a.b", 1.25, least).row({"here": results})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of two sections: of one commit, and on one machine that stayed as it was."""
    for name in ("latency", "memory"):
        made = read(RESULTS / f"{name}.json")
        made.about["revision"] = {"commit": "0123456789abcdef", "changed": False}
        made.about["probes"] = [100, 104]
        made.about["began"] = "2026-01-02T03:04:05Z"
        made.write(tmp_path / f"{name}.json")
    return tmp_path


def test_a_section_says_of_which_commit_it_is(folder: Path) -> None:
    assert page(folder).count("\nCommit 0123456789; 2026-01-02.\n") == 2


def test_a_section_says_what_makes_it_doubtful(folder: Path) -> None:
    doubtful = read(folder / "latency.json")
    doubtful.about["revision"]["changed"] = True
    doubtful.about["probes"] = [100, 106]
    doubtful.write(folder / "latency.json")
    assert (
        "Commit 0123456789, with changes that were not committed; 2026-01-02. "
        "The machine's own speed changed meanwhile, from 100 to 106 GFLOP/s.\n"
    ) in page(folder)


def test_the_page_says_which_gpu_there_was(folder: Path) -> None:
    assert page(folder).count("no GPU;") == 1
    assert "- **No GPU.**" in page(folder)
    measured = read(folder / "latency.json")
    measured.about["machine"]["gpus"] = [{"name": "NVIDIA L4", "memory_gib": 22.5}]
    measured.write(folder / "latency.json")
    made = page(folder)
    assert "- **No GPU.**" not in made
    assert len(re.findall("^Measured on: .* NVIDIA L4 with 22.5 GiB;", made, re.MULTILINE)) == 1
    assert len(re.findall("^Measured on: .* no GPU;", made, re.MULTILINE)) == 1
    # Of two machines, each section says which it is of.
    assert len(re.findall("^Commit .* On: .* NVIDIA L4 with", made, re.MULTILINE)) == 1
    assert len(re.findall("^Commit .* On: .* no GPU;", made, re.MULTILINE)) == 1


def test_targets_are_of_measurements_that_are_made() -> None:
    for target in TARGETS:
        assert MEASUREMENTS[target.section].split()[0] == target.figure.partition(".")[0]


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    assert page(tmp_path).count("Not measured yet.") == len(MEASUREMENTS)
