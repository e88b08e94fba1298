"""What is said of an archive: from which rate, of which captions, and how to lay it out."""

from pathlib import Path

import pytest

from bench import __main__ as command
from bench.geometry import SMOLVLM2_2B, processor
from bench.results import Results
from bench.samples import Figure
from bench.scenarios.capacity import TILES, caption_of, layout
from engine.context import Context
from scripts.context_table import default_prompt


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080)])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_caption_asks_for_as_many_tokens_as_the_app_counts(size: tuple[int, int], frames: int) -> None:
    context = Context(processor(), 8192)
    assert context.tiles(size, context.own_edge) == TILES
    counted = context.prompt_tokens(default_prompt(frames), [size] * frames, context.own_edge)
    assert caption_of(SMOLVLM2_2B, frames, TILES, 200).prompt_tokens == pytest.approx(counted, abs=2)


def said(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert command.main(["capacity", "--hours", "1000", *options]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_an_estimate_is_of_the_apps_default_resolution(capsys: pytest.CaptureFixture[str]) -> None:
    answer = said(capsys, "--tflops", "100", "--bandwidth", "1000")
    assert "an estimate from 40% of the given limits, not a measurement" in answer
    assert "2.2b, 1 x 13 tiles, 1141 tokens read, 60 written" in answer
    assert "Assumed: the archive's captions are on average like those that the rate is of." in answer


def test_of_a_given_rate_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not known: the rate has to be one of frames, resolution" in said(capsys, "--rate", "3")


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        (
            0,
            "a folder, mixed workload, frames at the app's default resolution; on average 1.8 frames, 2009 tokens read",
        ),
        (384, "a folder, mixed workload, frames at no more than 384 px, NOT the app's default resolution"),
    ],
)
def test_a_measured_rate_says_what_was_captioned(
    edge: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Results(["throughput"], quick=False)
    made.figures["throughput.engine.16"] = Figure("captions/s", (3.0, 4.0, 5.0), "more")
    made.figures["throughput.offline"] = Figure("captions/s", (9.0,), "more")
    made.settings["throughput"] = {
        "model": "a folder",
        "workload": "mixed",
        "longest_edge": edge,
        "caption": {"frames": 1.8, "prompt_tokens": 2009.3, "tokens": 76.0},
    }
    made.finish()
    made.write(tmp_path / "gpu.json")
    answer = said(capsys, "--results", str(tmp_path / "gpu.json"))
    assert "4.000, measured as throughput.engine.16" in answer
    assert words in answer


def test_several_engines_are_one_backfill() -> None:
    assert "--ray" not in layout(1)
    assert "one backfill with --ray for the GPUs of this machine" in layout(4)
