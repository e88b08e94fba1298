"""
A backfill of many small files against the engine by itself and against file after file; a second pass beside its first.

All read the same frames, decoded anew each time but for the engine by itself, which has them in hand; before each turn
vLLM forgets what it has read. The second pass is about prompt tokens, which are counted: those that were not there yet.
"""

import argparse
import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.contenders.engine import answer
from bench.models import add_dtype_option, add_model_option, kv_cache_gib, model_folder, tile_edge
from bench.workloads import FOLDER, Workload, uniform

if TYPE_CHECKING:
    from app import SmolVLM2Captioner
    from archive.plan import Given
    from archive.records import Result
    from archive.run import Live, Progress
    from bench.run import Run
    from captioning.passes import Annotated
    from engine.engine import Engine
    from engine.request import Request

SECOND = "Which colours are to be seen? Answer in one word."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    add_model_option(parser, "256m", "256m; demo with --quick")
    add_dtype_option(parser)
    parser.add_argument("--files", type=int, default=16, help="[default: 16]")
    parser.add_argument("--prompts", type=int, default=1, help="in each file, as of a tape's slate [default: 1]")
    parser.add_argument("--tokens", type=int, default=60, help="of a caption, at most [default: 60]")
    parser.add_argument("--parallel", type=int, default=16, help="prompts in flight [default: 16]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")


def measure(run: "Run") -> None:
    """Let the engine, the backfill, and the app for one file after the other caption the same prompts in turns."""
    options = run.options
    if run.quick:
        options.model, options.files, options.rounds = "demo", 4, 1
    folder = model_folder(options.model)
    captioner = run.engines.captioner(model=str(folder), dtype=options.dtype, kv_cache_gib=kv_cache_gib(folder))
    edge = tile_edge(folder)
    run.settings |= {name: getattr(options, name) for name in ("model", "files", "prompts", "tokens", "parallel")}
    run.settings["longest_edge"] = edge
    place = FOLDER / "backfill"
    workload = uniform(options.files * options.prompts, 0, frames=1, tokens=options.tokens, quick=run.quick)
    files = _write_files(place / "in", workload, options.prompts)
    given = {"maxNewTokens": [f"{options.tokens}"], "longestEdge": [f"{edge}"], "parallelPrompts": ["16"]}
    requests = _requests(captioner, files, given)

    def engine() -> int:
        return answer(captioner.engine, requests, options.parallel).captions

    def backfill() -> int:
        return _backfill(captioner, files, place, {"captions": given}, options.parallel).captions

    def one_by_one() -> int:
        for file in files:
            (place / "out" / file.name).write_text(captioner.annotate(file.read_text(), **given))
        return len(workload.prompts)

    def timed(caption: Callable[[], int]) -> Callable[[], float]:
        def speed() -> float:
            shutil.rmtree(place / "out", ignore_errors=True)
            (place / "out").mkdir()
            _forget(captioner.engine)
            began = time.perf_counter()
            if (captions := caption()) != len(workload.prompts):
                raise RuntimeError(f"{caption.__name__} made {captions} captions of {len(workload.prompts)}.")
            return captions / (time.perf_counter() - began)

        return speed

    contenders = {made.__name__: timed(made) for made in (engine, backfill, one_by_one)}
    speeds = run.take_turns(contenders, options.rounds, warm_up=0)  # the engine has just answered them all
    run.show(_speeds(run, speeds))
    _forget(captioner.engine)
    both = {"first": given | {"longestEdge": ["0"]}, "second": given | {"longestEdge": ["0"], "prompt": [SECOND]}}
    shutil.rmtree(place / "out")
    done = _backfill(captioner, files[: max(1, len(files) // 8)], place, both, options.parallel)
    run.show(_second_pass(run, done.computed))


def _speeds(run: "Run", speeds: Mapping[str, Sequence[float]]) -> Table:
    options = run.options
    table = Table(title=f"{options.files} files, {options.prompts} prompts in each, {options.tokens} tokens")
    for column in ("who", "captions/s", "the backfill against it"):
        table.add_column(column, justify="left" if column == "who" else "right")
    for name, samples in speeds.items():
        interval = run.record(name, samples, "captions/s", "more").interval
        share = ""
        if name != "backfill":
            ratio = run.record_ratio(f"backfill_over_{name}", speeds["backfill"], samples).interval
            share = f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
        table.add_row(name.replace("_", " "), f"{interval.value:.3f} ({interval.low:.3f}-{interval.high:.3f})", share)
    return table


def _second_pass(run: "Run", computed: Mapping[str, int]) -> Table:
    table = Table(title="Prompt tokens computed in two passes over the same frames, at default resolution")
    for column in ("pass", "tokens", "against the first"):
        table.add_column(column, justify="left" if column == "pass" else "right")
    for name, tokens in computed.items():
        run.record(f"{name}_pass", tokens, "tokens", "less")
        table.add_row(name, f"{tokens}", f"{tokens / computed['first']:.2f}" if name != "first" else "")
    run.record("second_over_first", computed["second"] / computed["first"], "x", "less")
    return table


@dataclass
class _Done:
    """
    What a backfill has come to.

    :param computed: prompt tokens that were not in the cache, of each pass
    """

    captions: int = 0
    computed: Counter[str] = field(default_factory=Counter)


def _backfill(
    captioner: "SmolVLM2Captioner", files: Sequence[Path], place: Path, asked: Mapping[str, "Given"], parallel: int
) -> _Done:
    """Caption files as ``backfill.py`` does, its ledger included, into the folder ``out`` of ``place``."""
    from archive.choice import choose
    from archive.inputs import find_jobs
    from archive.ledger import Ledger
    from archive.local import LocalRunner
    from archive.plan import Pass
    from archive.run import Progress, run

    done = _Done()

    class Counting:
        """The app; what each pass had to compute is counted."""

        engine = captioner.engine
        check_resolution = captioner.check_resolution

        def annotate_passes(self, mmif: str, asked: Mapping[str, "Given"], **further: Any) -> "Annotated":
            made = captioner.annotate_passes(mmif, asked, **further)
            for name, outcome in made.outcomes.items():
                read = [caption.completion for caption in outcome.captions]
                done.captions += len(read)
                done.computed[name] += sum(one.prompt_tokens - one.cached_tokens for one in read)
            return made

    passes = [Pass(name, given, captioner._refine_params(**given)) for name, given in asked.items()]
    jobs = find_jobs(map(str, files), place / "out")
    with Ledger(place / "out") as ledger:
        choice = choose(jobs, ledger, "", retry_failed=False, force=True)
        number = ledger.begin_run([], [], captioner.engine.model.record)
        ledger.register(number, ((job.path, job.source) for job in jobs))
        progress = Progress(len(choice.jobs), sum(choice.sizes.values()))
        outcome = run(choice, ledger, number, LocalRunner(Counting(), passes, parallel, ""), _Silent(), progress)
    if outcome != "complete":
        raise RuntimeError(f"The backfill is {outcome}: {progress.reason or progress}")
    return done


class _Silent:
    """Shows nothing of a backfill."""

    def show(self, progress: "Progress", live: "Live") -> None: ...

    def failed(self, result: "Result") -> None: ...

    def say(self, text: str) -> None: ...


def _requests(captioner: "SmolVLM2Captioner", files: Sequence[Path], given: "Given") -> "list[Request]":
    """Return what the app asks the engine about files, in their order, with the frames in it."""
    from captioning.call import TakesPrompts

    asked: list[Request] = []

    def note(call: TakesPrompts) -> TakesPrompts:
        submit = call.submit_in_turn

        def noted(requests: "Sequence[Request]") -> Any:
            asked.extend(requests)
            return submit(requests)

        call.submit_in_turn = noted  # type: ignore[method-assign]
        return call

    for file in files:
        captioner.annotate_passes(
            file.read_text(), {"all": given}, window=1, through=note, report_progress=lambda done, of: None
        )
    return asked


def _forget(engine: "Engine") -> None:
    """Have vLLM forget what it has read, so that frames are fresh to it."""
    generation = engine._generation
    assert generation is not None
    assert generation._llm is not None
    for reset in (generation._llm.reset_prefix_cache, generation._llm.reset_encoder_cache):
        asyncio.run_coroutine_threadsafe(reset(), generation._loop).result()


def _write_files(folder: Path, workload: Workload, prompts: int) -> list[Path]:
    """Write a MMIF for every few prompts of a workload."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = []
    for number in range(0, len(workload.prompts), prompts):
        part = replace(workload, prompts=workload.prompts[number : number + prompts])
        files.append(folder / f"{number // prompts:03}.mmif")
        files[-1].write_text(part.mmif())
    return files
