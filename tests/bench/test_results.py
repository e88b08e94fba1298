"""Results on disk, and their comparison."""

import io
import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from bench.compare import differences, remarks, report
from bench.results import SCHEMA, Results, ResultsError, read
from bench.samples import Figure

ABOUT = {
    "machine": {"processor": "p", "cores": 2, "memory_gib": 4.0, "gpus": [], "system": "s", "load": 0.1},
    "versions": {"python": "3.11.2"},
    "revision": {"commit": "c", "changed": False},
    "environment": {},
    "began": "2026-01-01T00:00:00Z",
    "seconds": 1.0,
}


def results(*, probes: tuple[float, float] = (100, 100), quick: bool = False, **figures: Figure) -> Results:
    return Results(["x"], quick, dict(figures), about=json.loads(json.dumps({**ABOUT, "probes": list(probes)})))


def test_what_is_written_is_as_the_schema_says_and_is_read_back(tmp_path: Path) -> None:
    made = Results(["throughput", "--quick", "--model", "a folder"], quick=True)
    made.figures["throughput.speed"] = Figure("captions/s", (3.0, 1.0, 2.0), "more")
    made.figures["throughput.latency"] = Figure("s", (3.0, 1.0), "less", rounds=1)
    made.settings["throughput"] = {"model": "demo"}
    made.failures["faults"] = "it broke"
    made.plots.append("a.svg")
    made.finish()
    file = tmp_path / "new" / "results.json"
    made.write(file)
    written = json.loads(file.read_text())
    jsonschema.validate(written, SCHEMA)
    assert written["command"] == "python -m bench throughput --quick --model 'a folder'"
    assert written["figures"] == {
        "throughput.speed": {
            "value": 2.0,
            "low": 1.0,
            "high": 3.0,
            "unit": "captions/s",
            "better": "more",
            "confidence": 0.75,
        },
        "throughput.latency": {
            "value": 2.0,
            "low": 2.0,
            "high": 2.0,
            "unit": "s",
            "better": "less",
            "confidence": 0.0,
            "rounds": 1,
        },
    }
    assert written["samples"] == {"throughput.speed": [3.0, 1.0, 2.0], "throughput.latency": [3.0, 1.0]}
    assert len(written["revision"]["commit"]) >= 7
    assert written["versions"]["transformers"]
    assert written["machine"]["cores"] >= 1
    assert read(file) == made
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "can't be read: No such file"),
        ("{", "is not JSON"),
        ('{"figures": {}}', "was not written by"),
    ],
)
def test_a_file_that_is_no_results_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ResultsError, match=complaint) as caught:
        read(file)
    assert str(file) in str(caught.value)


def test_a_comparison_says_what_changed_and_what_is_noise() -> None:
    before = results(
        fast=Figure("captions/s", (10, 11, 9, 10.5), "more"),
        slow=Figure("s", (2, 2.1, 1.9, 2.05), "less"),
        same=Figure("s", (1, 1.2, 0.9, 1.1), "less"),
        few=Figure("s", (1, 1), "less"),
        wrong=Figure("captions", (0, 0)),
        gone=Figure("s", (1,)),
    )
    after = results(
        fast=Figure("captions/s", (20, 22, 18, 21), "more"),
        slow=Figure("s", (4, 4.2, 3.8, 4.1), "less"),
        same=Figure("s", (1.1, 0.95, 1, 1.15), "less"),
        few=Figure("s", (3, 3), "less"),
        wrong=Figure("captions", (0, 0)),
        fresh=Figure("s", (1,)),
    )
    found = {difference.name: difference.verdict for difference in differences(before, after)}
    assert found == {
        "fast": "better",
        "slow": "worse",
        "same": "within noise",
        "few": "too few samples to tell",
        "wrong": "equal",
    }
    assert list(remarks(before, after)) == ["Only in one of them: fresh, gone."]
    (fast, *_) = differences(before, after)
    assert fast.ratio is not None
    assert (fast.ratio.value, fast.ratio.low, fast.ratio.high) == pytest.approx((2.0, 18 / 11, 22 / 9))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report(before, after))
    printed = console.export_text()
    assert "2.000 (1.636-2.444)" in printed
    assert "within noise" in printed


def test_many_samples_of_one_run_are_not_told_from_those_of_another() -> None:
    """Two runs of one server differ by more than the calls within each: 200 latencies were told apart at 95 %."""
    before = results(
        latency=Figure("s", tuple(1 + n / 1000 for n in range(200)), "less", rounds=1),
        old=Figure("s", tuple(1 + n / 1000 for n in range(200)), "less"),
        counted=Figure("tokens", (228,), "less"),
    )
    after = results(
        latency=Figure("s", tuple(1.5 + n / 1000 for n in range(200)), "less", rounds=1),
        old=Figure("s", tuple(1.5 + n / 1000 for n in range(200)), "less", rounds=1),
        counted=Figure("tokens", (228,), "less"),
    )
    assert {difference.name: difference.verdict for difference in differences(before, after)} == {
        "latency": "one run can't tell",
        "old": "one run can't tell",
        "counted": "equal",
    }


def test_rounds_of_many_samples_are_compared_round_by_round() -> None:
    before = results(latency=Figure("s", (1.0, 1.1, 9.0) * 6, "less", rounds=6))
    after = results(latency=Figure("s", (2.0, 2.2, 9.0) * 6, "less", rounds=6))
    (found,) = differences(before, after)
    assert found.verdict == "worse"
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (2, 2, 2)


def test_a_comparison_says_when_the_machine_itself_was_another() -> None:
    before, after = results(probes=(100, 100)), results(probes=(80, 70), quick=True)
    after.about["machine"]["cores"] = 4
    after.about["versions"]["vllm"] = "1"
    said = " ".join(remarks(before, after))
    assert "Different machines: 2 and 4." in said
    assert "0.75 times as fast in the second run" in said
    assert "changed during the second run, from 80 to 70 GFLOP/s" in said
    assert "The second results are from a --quick run" in said
    assert "vllm was not there, and is 1." in said
