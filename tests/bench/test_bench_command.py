"""The command line, with a scenario that measures nothing but itself."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.table import Table

from bench import __main__ as command
from bench.run import Run
from bench.scenarios import SCENARIOS, TOOLS


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)


def measure(run: Run) -> None:
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return float(len(order))

    names = ("first", "second", "third")
    samples = run.take_turns({name: lambda name=name: contender(name) for name in names}, run.options.rounds)
    for name, taken in samples.items():
        run.record(name, taken, "calls", "less")
    run.record_ratio("ratio", samples["first"], samples["second"])
    run.settings["order"] = order
    table = Table("who", title="the table")
    table.add_row("a row")
    run.show(table)
    with run.plot("line") as axes:
        axes.plot([1, 2, 3], [1, 4, 9])


def broken(run: Run) -> None:
    raise RuntimeError("no such luck")


@pytest.fixture(autouse=True)
def scenarios(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, function in (("works", measure), ("fails", broken)):
        module = ModuleType(name, f"The scenario that {name}: 100 %.\n\nAnd more.")
        module.measure = function  # type: ignore[attr-defined]
        if function is measure:
            module.add_options = add_options  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(command, "SCENARIOS", {"fails": "fails", "works": "works"})
    yield


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_scenario_yields_a_table_figures_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    file, plots = tmp_path / "results.json", tmp_path / "plots"
    arguments = ["works", "--rounds", "4", "--json", str(file), "--plots", str(plots), "--plot-format", suffix]
    assert command.main(arguments) == 0
    assert "a row" in capsys.readouterr().out
    written = json.loads(file.read_text())
    # A round to warm up, then four that begin each time with another.
    assert written["settings"]["works"]["order"] == [
        *("third", "first", "second"),
        *("first", "second", "third"),
        *("second", "third", "first"),
        *("third", "first", "second"),
        *("first", "second", "third"),
    ]
    assert written["samples"]["works.first"] == [4, 9, 11, 13]
    assert written["samples"]["works.ratio"] == [4 / 5, 9 / 7, 11 / 12, 13 / 14]
    (plot,) = written["plots"]
    assert Path(plot) == plots / f"works-line.{suffix}"
    _check_that_something_is_drawn(Path(plot))


def _check_that_something_is_drawn(plot: Path) -> None:
    if plot.suffix == ".svg":
        svg = "{http://www.w3.org/2000/svg}"
        lines = [path for path in ElementTree.parse(plot).iter(f"{svg}path") if "#0072b2" in (path.get("style") or "")]
        assert any(path.get("d", "").count("L") == 2 for path in lines)  # three points
        return
    with Image.open(plot) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 20) or ()}
    assert (0x00, 0x72, 0xB2) in colours


def test_a_plot_of_the_same_data_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert command.main(["works", "--plots", str(tmp_path / name)]) == 0
    assert (tmp_path / "one" / "works-line.svg").read_bytes() == (tmp_path / "two" / "works-line.svg").read_bytes()


def test_of_all_scenarios_one_that_fails_loses_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    assert command.main(["all", "--quick", "--json", str(file), "--plots", str(tmp_path)]) == 1
    assert "bench: fails failed: RuntimeError: no such luck" in capsys.readouterr().err
    written = json.loads(file.read_text())
    assert written["failures"] == {"fails": "RuntimeError: no such luck"}
    assert len(written["samples"]["works.first"]) == 3  # its options' defaults
    assert written["quick"] is True


def test_two_results_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / name) for name in ("one.json", "two.json")]
    for file in files:
        command.main(["works", "--rounds", "6", "--json", file, "--plots", str(tmp_path)])
    capsys.readouterr()
    assert command.main(["compare", *files]) == 0
    printed = capsys.readouterr().out
    assert "works.first" in printed
    assert "within noise" in printed
    assert command.main(["compare", files[0], str(tmp_path / "three.json")]) == 2
    assert "three.json can't be read" in capsys.readouterr().err


def test_every_scenario_says_what_it_measures() -> None:
    answer = subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True)
    for name in (*SCENARIOS, *TOOLS, "all", "compare", "publish"):
        assert re.search(rf"^    {name}\s+\S+ \S+ \S+", answer.stdout, re.MULTILINE), name
