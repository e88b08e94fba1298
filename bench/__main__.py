"""
Measure the app, or compare two measurements.

python -m bench SCENARIO [--quick] [--json FILE]   one scenario
python -m bench all [--quick] [--json FILE]        all of them
python -m bench tune | capacity ...                settings for this machine; GPU-hours for an archive
python -m bench publish [--measure]                docs/benchmarks.md, made of results
python -m bench compare BEFORE.json AFTER.json     what changed, and whether it is more than noise
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console

from bench.compare import report
from bench.engines import Engines
from bench.publish import MEASUREMENTS, publish
from bench.results import Results, ResultsError, read
from bench.run import Run, new_progress, wide
from bench.scenarios import SCENARIOS, TOOLS

_PLOTS = Path("build/bench/plots")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param arguments: without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code: 0, 1 if a scenario failed, 2 for a wrong command line or an unusable file
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    modules = {name: importlib.import_module(module) for name, module in {**SCENARIOS, **TOOLS}.items()}
    options = _parser(modules).parse_args(given)
    console = wide(Console())
    if options.scenario == "publish":
        publish(measure=options.measure, only=options.only)
        return 0
    if options.scenario == "compare":
        try:
            console.print(report(read(options.before), read(options.after)))
        except ResultsError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        return 0
    chosen = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
    results = _measure({name: modules[name] for name in chosen}, options, given, console)
    if options.json:
        results.write(options.json)
    for name, reason in results.failures.items():
        print(f"bench: {name} failed: {reason}", file=sys.stderr)
    return 1 if results.failures else 0


def _measure(
    modules: dict[str, ModuleType], options: argparse.Namespace, command: list[str], console: Console
) -> Results:
    results = Results(command, options.quick)
    with contextlib.closing(Engines()) as engines:
        for name, module in modules.items():
            # Of `all`, each scenario gets its options' defaults.
            defaults = _with_options(argparse.ArgumentParser(), module).parse_args([])
            own = argparse.Namespace(**{**vars(defaults), **vars(options)})
            with new_progress(Console(stderr=True)) as progress:
                run = Run(name, own, results, engines, progress)
                try:
                    module.measure(run)
                except Exception as error:
                    if len(modules) == 1:
                        raise
                    results.failures[name] = f"{type(error).__name__}: {error}"
            console.rule(name)
            console.print(*run.shown, sep="\n")
    results.finish()
    return results


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="scenario", metavar="COMMAND", required=True)
    for name, module in modules.items():
        command = commands.add_parser(name, help=_first_line(module), description=module.__doc__)
        _with_options(_common(command), module)
    _common(
        commands.add_parser(
            "all", help="all of them, one after the other", description=f"Measure {_listed(SCENARIOS)}."
        )
    )
    comparison = commands.add_parser(
        "compare", help="two results side by side, and what is noise", description=report.__doc__
    )
    comparison.add_argument("before", type=Path, metavar="BEFORE.json")
    comparison.add_argument("after", type=Path, metavar="AFTER.json")
    publication = commands.add_parser(
        "publish", help="docs/benchmarks.md, made of results", description=publish.__doc__
    )
    publication.add_argument("--measure", action="store_true", help="make the results first; takes an hour and more")
    publication.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=(), help="of these sections")
    return parser


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--quick", action="store_true", help="less of everything: a check that it runs, not a measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample and figure there")
    parser.add_argument("--plots", type=Path, default=_PLOTS, metavar="FOLDER", help=f"for plots [default: {_PLOTS}]")
    parser.add_argument("--plot-format", choices=("svg", "png"), default="svg", help="[default: svg]")
    return parser


def _with_options(parser: argparse.ArgumentParser, module: ModuleType) -> argparse.ArgumentParser:
    if hasattr(module, "add_options"):
        module.add_options(parser)
    return parser


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0].replace("%", "%%")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.exit(main())
