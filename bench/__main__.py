"""Run a benchmark: ``python -m bench SCENARIO [--quick] [--json FILE]``."""

import argparse
import importlib
import json
from pathlib import Path

SCENARIOS = ("frames",)  # each a module of this package with `run(quick)`, which prints tables and returns figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure how fast a part of the app is.")
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--quick", action="store_true", help="less of everything: a check that it runs, not a measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    figures = importlib.import_module(f"bench.{options.scenario}").run(options.quick)
    if options.json:
        report = {"scenario": options.scenario, "quick": options.quick, "figures": figures}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
