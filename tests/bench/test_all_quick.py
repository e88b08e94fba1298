"""Every scenario, as its command line runs it, with real engines: less of everything, but nothing left out."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from bench.publish import TARGETS, Target
from bench.results import Results, read
from bench.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "bench", "all", "--quick"]
    command += ["--json", str(folder / "all.json"), "--plots", str(folder / "plots")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return read(folder / "all.json")


@pytest.mark.timeout(1200)
def test_every_scenario_gives_figures_and_says_them(results: Results) -> None:
    assert results.failures == {}
    assert list(results.shown) == list(SCENARIOS)
    for name in SCENARIOS:
        assert results.shown[name], name
        assert [figure for figure in results.figures if figure.startswith(f"{name}.")], name


def test_plots_are_drawn(results: Results) -> None:
    assert len(results.plots) >= 7
    for plot in results.plots:
        drawn = ElementTree.parse(plot).getroot()
        assert len(drawn.findall(".//{*}path")) > 10, plot


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("faults.captions_that_differ", 0),  # by what a killed engine's successor says
        ("fuzz.complaints", 0),
        ("latency.closed.4.errors", 0),
        ("latency.open.0.5.errors", 0),
    ],
)
def test_what_does_not_depend_on_the_machine(results: Results, figure: str, value: float) -> None:
    assert results.figures[figure].samples == (value,)


def test_what_a_warm_up_took_is_no_sample(results: Results) -> None:
    assert len(results.figures["stages.prompt.preparing"].samples) == results.settings["stages"]["prompts"]
    assert results.figures["stages.prompt.preparing"].rounds == 1


def without_numbers(figure: str) -> str:
    """A figure's name, whatever the options: how many prompts were in flight, how many minutes a video has."""
    return re.sub(r"\d+", "0", figure)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.section}: {target.figure}")
def test_a_target_is_of_a_figure_that_its_scenario_makes(results: Results, target: Target) -> None:
    """Of one that is renamed, the page would say for ever that it is not measured."""
    assert without_numbers(target.figure) in set(map(without_numbers, results.figures))


def test_contenders_of_one_table_did_the_same(results: Results) -> None:
    """That they read the same tokens is checked where they are measured; here, that all took part."""
    (table,) = [shown for shown in results.shown["throughput"] if isinstance(shown, dict)]
    assert {row[0].partition(".")[0] for row in table["rows"]} == {"engine", "http", "offline", "transformers"}
