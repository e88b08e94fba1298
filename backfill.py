#!/usr/bin/env python3
"""
The loading dock: an archive of MMIF in, an archive out.

``python backfill.py INPUT... OUTPUT`` captions, ``python backfill.py status OUTPUT`` says how far that is.
"""

import argparse
import contextlib
import functools
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

import app
from archive import estimate, status
from archive.__main__ import main as report_on
from archive.choice import Choice, choose
from archive.digest import digest, former_digests
from archive.display import display_on, print_whole, summary
from archive.inputs import InputError, Job, find_jobs
from archive.ledger import FOLDER, Ledger, LedgerError
from archive.local import LocalRunner
from archive.lock import Locked, locked
from archive.output import remove_parts
from archive.plan import Given, Pass, PlanError, read_plan, single_pass
from archive.records import Outcome
from archive.remote import Patience, RemoteCaptioner, RemoteRunner, ServerError
from archive.run import Progress, Runner, run
from archive.settings import BackfillSettings
from archive.work import Stopped
from captioning.parameters import Parameters
from captioning.settings import CaptioningSettings
from captioning.urls import source_of
from cli import add_parameters, given_parameters
from configuration import SettingsError, refuse_unknown_variables
from engine.errors import EngineError
from engine.settings import EngineSettings
from metadata import IDENTIFIER

# What the process ends with; docs/backfill.md explains them.
DONE, WRONG_COMMAND, STOPPED, SOME_FAILED, IN_USE, INTERRUPTED = 0, 2, 3, 4, 5, 130

_SETTINGS = (EngineSettings, CaptioningSettings, BackfillSettings)
_CODES: Mapping[Outcome, int] = {
    "complete": DONE,
    "incomplete": SOME_FAILED,
    "stopped": STOPPED,
    "interrupted": INTERRUPTED,
}
_REPORT = "report"  # in the output folder
_PER_SERVER = 16  # prompts in flight, where nothing is said
_FOR_WORKERS = ("HF_HOME", "HF_TOKEN", "OMP_NUM_THREADS")  # besides settings, what a cluster's workers are to have
_MEND = "Make room, or mend it, and start the same command again."
_APP = f"http://apps.clams.ai/{IDENTIFIER}/"

_EPILOG = """
exit codes: 0 all files are done; 2 the command, the plan or a setting is wrong; 3 it stopped before the end, as the
engine, the servers, the disk or the report failed, and the same command goes on where it stood; 4 all was tried and
some files failed; 5 another backfill is at work on OUTPUT; 130 it was interrupted, and the same command goes on.

backfill.py status OUTPUT [--failed] [--json] says from another terminal how far it is.
backfill.py report OUTPUT makes the report on it, or exports its captions.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Caption many MMIF files, or say how far that is.

    :param arguments: the command line without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["status"]:
            return _status(given[1:])
        if given[:1] == ["report"]:
            return _report(given[1:])
        return _backfill(given)
    except (SettingsError, PlanError, InputError, ServerError) as error:
        return _complain(error, WRONG_COMMAND)
    except LedgerError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):  # the disk's fault, not the command's
            return _complain(f"{error} {_MEND}", STOPPED)
        return _complain(error, WRONG_COMMAND)
    except (OSError, sqlite3.Error, Stopped) as error:  # before the run, which sees to those in it
        return _complain(f"{str(error).removesuffix('.')}. {_MEND}", STOPPED)
    except Locked as error:
        return _complain(error, IN_USE)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on where it stood.", INTERRUPTED)


def _complain(said: object, code: int) -> int:
    print(f"backfill.py: {said}", file=sys.stderr)
    return code


def _status(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="backfill.py status", description="Say how far a backfill is.")
    parser.add_argument("OUTPUT", type=Path, help="its output folder")
    parser.add_argument("--failed", action="store_true", help="list every file that failed")
    parser.add_argument("--json", action="store_true", help="for programs")
    parsed = parser.parse_args(arguments)
    if parsed.json:
        print(status.as_json(parsed.OUTPUT))
    else:
        print_whole(Console(), status.as_table(parsed.OUTPUT, all_failed=parsed.failed))
    return DONE


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="backfill.py report",
        description=f"Make the report on a backfill in its output folder, as {_REPORT}; see docs/report.md.",
        epilog="All other options are those of python -m archive.",
    )
    parser.add_argument("OUTPUT", type=Path, help="its output folder")
    parsed, further = parser.parse_known_args(arguments)
    return report_on([str(parsed.OUTPUT), str(parsed.OUTPUT / _REPORT), *further])


@dataclass(frozen=True)
class _Asked:
    """A command line, read and checked."""

    options: argparse.Namespace
    command: list[str]
    output: Path
    jobs: list[Job]
    passes: tuple[Pass, ...]
    captioner: app.SmolVLM2Captioner
    settings: BackfillSettings

    def check(self, parameters: Given) -> Mapping[str, Any]:
        """Refine parameters; see :func:`_refined`."""
        return _refined(self.captioner, parameters)

    def choose(self, ledger: Ledger | None, parameters: str) -> Choice:
        """Choose what is to be done; ``parameters`` is the digest of what is asked."""
        return choose(
            self.jobs,
            ledger,
            parameters,
            retry_failed=self.options.retry_failed,
            force=self.options.force,
            former=former_digests(ledger, self.check({}), self.check) if ledger else {},
        )


def _backfill(arguments: list[str]) -> int:
    asked = _read(arguments)
    console = Console(stderr=True)
    _log_to(console)
    with _captioning(asked) as (model, make_runner):
        parameters = digest(asked.passes, asked.check({}), model)
        if asked.options.dry_run:
            return _dry_run(asked, model, parameters)
        _make(asked.output)
        with locked(asked.output), Ledger(asked.output) as ledger:
            code = _work(asked, model, parameters, ledger, console, lambda: make_runner(parameters))
    return _report_after(asked.output, code) if asked.options.report and code in (DONE, SOME_FAILED) else code


def _make(output: Path) -> None:
    try:
        (output / FOLDER).mkdir(parents=True, exist_ok=True)
    except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise InputError(f"OUTPUT can't be made or written to, {error.filename}: {error.strerror}.") from error


def _report_after(output: Path, code: int) -> int:
    """Make the report on a backfill that has tried all files, and return what both end with."""
    try:
        failed = report_on([str(output), str(output / _REPORT)])
    except KeyboardInterrupt:
        return _complain(f"interrupted in the report; `backfill.py report {output}` goes on with it.", INTERRUPTED)
    if not failed:
        return code
    said = f"the report lacks what is named above; `backfill.py report {output}` makes it again."
    return _complain(said, STOPPED if code == DONE else code)


def _read(arguments: list[str]) -> _Asked:
    known = app.get_app().metadata
    options = _parser(known).parse_intermixed_args(arguments)
    for settings in _SETTINGS:
        settings.export_flags(options)
    refuse_unknown_variables(app.SETTINGS)
    captioner = app.get_app()
    given = given_parameters(options, known)
    check = functools.partial(_refined, captioner)
    if options.plan is None:
        passes = single_pass(given, check)
    else:
        passes = read_plan(options.plan, given, {p.name: p for p in known.parameters}, check)
    output = options.OUTPUT
    try:
        if output.exists() and not output.is_dir():
            raise InputError(f"OUTPUT has to be a folder; {output} is a file.")
        jobs = find_jobs(options.INPUT, output, column=options.column, base=options.base)
    except OSError as error:
        raise InputError(f"{error.filename} can't be looked at: {error.strerror}.") from error
    return _Asked(options, arguments, output, jobs, passes, captioner, BackfillSettings.read())


def _folder(text: str) -> Path:
    if not isinstance(folder := source_of(text), Path):
        raise argparse.ArgumentTypeError(f"it has to be a folder that this machine sees; {text} is a URL")
    return folder


def _refined(captioner: app.SmolVLM2Captioner, parameters: Given) -> Mapping[str, Any]:
    """
    Refine parameters as the app does.

    :raises ValueError: if one can't be used
    """
    refined = captioner._refine_params(**parameters)
    Parameters.of(refined)
    return refined


def _parser(known: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="backfill.py",
        description="Caption many MMIF files, each once, in one or several passes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "INPUT",
        nargs="+",
        help="folder (its .mmif files), file, quoted glob, manifest (.txt or .lst with a path a line, .csv or .tsv), "
        "or a URL of one of these, as s3://bucket/folder",
    )
    parser.add_argument("OUTPUT", type=_folder, help="folder for the captioned MMIF files, at the same relative paths")
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="passes over every file, in YAML; see docs/backfill.md"
    )
    parser.add_argument("--column", default="", metavar="NAME", help="column of a manifest that has the paths")
    parser.add_argument("--base", metavar="FOLDER", help="folder, or URL, to which output paths are relative")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", action="append", default=[], metavar="URL", help="running endpoint; may be repeated")
    where.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="Ray cluster, as Ray names it (auto, HOST:PORT); alone, one that is made of this machine",
    )
    parser.add_argument("--retry-failed", action="store_true", help="try the files that failed before again")
    parser.add_argument("--force", action="store_true", help="do all files, also those that are done")
    parser.add_argument("--report", action="store_true", help=f"make the report at the end, as OUTPUT/{_REPORT}")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to do, and how long it may take")
    add_parameters(parser, known)
    for settings in _SETTINGS:
        settings.add_flags(parser)
    return parser


Captioning = Iterator[tuple[str, Callable[[str], Runner]]]  # what captions, as ``id@revision``; makes a runner of it


def _captioning(asked: _Asked) -> contextlib.AbstractContextManager[tuple[str, Callable[[str], Runner]]]:
    """Who captions: the engine in this process, servers, or a cluster; closed at the end."""
    if asked.options.server:
        return _on_servers(asked)
    return _on_cluster(asked) if asked.options.ray else _on_engine(asked)


@contextlib.contextmanager
def _on_engine(asked: _Asked) -> Captioning:
    engine = asked.captioner.engine

    def make(parameters: str) -> Runner:
        engine.start()
        try:
            for made in asked.passes:
                asked.captioner.check_resolution(Parameters.of(made.refined).framing)
        except ValueError as error:
            raise PlanError(str(error)) from error
        parallel = asked.settings.parallel or engine.settings.prompts_at_once
        return LocalRunner(asked.captioner, asked.passes, parallel, parameters)

    try:
        yield engine.model.record, make
    finally:
        engine.close()


@contextlib.contextmanager
def _on_servers(asked: _Asked) -> Captioning:
    settings, urls = asked.settings, asked.options.server
    patience = Patience(
        settings.server_tries,
        settings.server_answer_minutes * 60,
        settings.server_silence_minutes * 60,
        settings.server_backoff_seconds,
    )
    token = settings.server_token.get_secret_value() if settings.server_token else ""
    remote = RemoteCaptioner(urls, asked.passes, _APP, patience, token)
    try:
        remote.greet()
        most = max(int(made.refined["parallelPrompts"]) for made in asked.passes)
        calls = max(1, (settings.parallel or _PER_SERVER * len(urls)) // most)
        yield remote.model, lambda parameters: RemoteRunner(remote, calls, parameters)
    finally:
        remote.close()


@contextlib.contextmanager
def _on_cluster(asked: _Asked) -> Captioning:
    try:
        from archive.cluster import Pool, RayRunner
    except ImportError as error:
        raise InputError(
            f"--ray needs Ray, which is not installed ({error}); docs/scaling.md says what brings it"
        ) from error
    settings, engine = asked.settings, asked.captioner.engine
    if 0 < settings.ray_engines_max < settings.ray_engines_min:
        raise SettingsError("--ray-engines-max is less than --ray-engines-min; there can't be fewer engines than that.")
    pool = Pool(
        settings.ray_engines_min,
        settings.ray_engines_max or None,
        settings.ray_cpus,
        engine.settings.tensor_parallel * engine.settings.data_parallel,
        settings.parallel or engine.settings.prompts_at_once,
    )
    theirs = {row.variable for read in (EngineSettings, CaptioningSettings) for row in read.rows()}
    environment = {name: value for name, value in os.environ.items() if name in theirs or name in _FOR_WORKERS}
    with contextlib.ExitStack() as stack:

        def make(parameters: str) -> Runner:
            output = asked.output.resolve()
            runner = RayRunner(asked.options.ray, app.get_app, asked.passes, output, pool, parameters, environment)
            stack.callback(runner.close)
            return runner

        yield engine.model.record, make


def _dry_run(asked: _Asked, model: str, parameters: str) -> int:
    if (asked.output / FOLDER / "ledger.sqlite").exists():
        with Ledger(asked.output, read_only=True) as ledger:
            choice, runs = asked.choose(ledger, parameters), ledger.runs()
    else:
        choice, runs = asked.choose(None, parameters), []
    found = estimate.look_into(choice.jobs, asked.passes)
    print_whole(Console(), estimate.shown(choice, found, estimate.rate(runs, model)))
    return DONE


def _work(
    asked: _Asked, model: str, parameters: str, ledger: Ledger, console: Console, make_runner: Callable[[], Runner]
) -> int:
    for left in ledger.records("running"):  # by a run that was killed
        remove_parts(asked.output / left.path)
    choice = asked.choose(ledger, parameters)
    plan = [{"name": made.name, "parameters": made.parameters} for made in asked.passes]
    number = ledger.begin_run(asked.command, plan, model)
    ledger.register(number, ((job.path, job.source) for job in asked.jobs))
    progress = Progress(len(choice.jobs), sum(choice.sizes.values()))
    outcome: Outcome = "stopped"
    try:
        if not choice.jobs:
            outcome = "incomplete" if choice.failed else "complete"
            return _CODES[outcome]
        with console.status("Starting the engine"):
            runner = make_runner()
        with display_on(console) as display:
            outcome = run(choice, ledger, number, runner, display, progress)
    except EngineError as error:
        return _complain(error, STOPPED)
    except KeyboardInterrupt:
        outcome = "interrupted"
    finally:
        with contextlib.suppress(sqlite3.Error):  # the disk is full; what is in the ledger is enough to go on
            ledger.end_run(number, outcome)
        failures = list(ledger.records("failed", run=number))
        print_whole(console, summary(outcome, choice, progress, ledger.totals(number), failures))
    return _CODES[outcome]


def _log_to(console: Console) -> None:
    """Let what is logged appear above the live display."""
    logging.getLogger("backfill").setLevel(logging.INFO)
    if console.is_terminal:
        logging.getLogger().handlers = [RichHandler(console=console, show_path=False)]


if __name__ == "__main__":
    sys.exit(main())
