"""Results as JSON: written whole, read back checked."""

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from bench.machine import environment, machine, probe, revision, versions
from bench.samples import Figure

FORMAT = 1
SCHEMA = json.loads((Path(__file__).parent / "schema.json").read_text())


class ResultsError(ValueError):
    """A results file that can't be used; says which and why."""


@dataclass
class Results:
    """
    What one command has measured.

    :param command: the arguments after ``python -m bench``
    :param figures: by name, ``scenario.figure``
    :param settings: by scenario, whatever it was told or chose
    :param plots: files that were drawn
    :param failures: by scenario, why it gave nothing
    :param shown: by scenario, the tables and lines that people were shown
    """

    command: list[str]
    quick: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    plots: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    shown: dict[str, list[Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.time()
        if not self.about:
            self.about = {
                "machine": machine(),
                "versions": versions(),
                "revision": revision(),
                "environment": environment(),
                "probes": [probe()],
            }

    def finish(self) -> None:
        """Note how fast the machine is now, and how long it took."""
        self.about["probes"].append(probe())
        self.about["began"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began))
        self.about["seconds"] = round(time.time() - self._began, 1)

    def write(self, path: Path) -> None:
        """Write all of it to ``path``; the file appears when it is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        part.replace(path)

    def as_json(self) -> dict[str, Any]:
        """Return what is written, as ``schema.json`` describes it."""
        return {
            "format": FORMAT,
            "command": shlex.join(["python", "-m", "bench", *self.command]),
            "quick": self.quick,
            **self.about,
            "settings": self.settings,
            "figures": {name: _summary(figure) for name, figure in self.figures.items()},
            "samples": {name: list(figure.samples) for name, figure in self.figures.items()},
            "plots": self.plots,
            "failures": self.failures,
            "shown": self.shown,
        }


def read(path: Path) -> Results:
    """
    Read results that :meth:`Results.write` wrote.

    :raises ResultsError: if they are not there or of another form
    """
    try:
        found = json.loads(path.read_text())
        jsonschema.validate(found, SCHEMA)
    except OSError as error:
        raise ResultsError(f"{path} can't be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path} is not JSON: {error}.") from error
    except jsonschema.ValidationError as error:
        place = "/".join(map(str, error.absolute_path)) or "at its top"
        raise ResultsError(
            f"{path} was not written by `python -m bench ... --json`: {place}: {error.message}"
        ) from error
    figures = {
        name: Figure(figure["unit"], tuple(found["samples"][name]), figure["better"], figure.get("rounds", 0))
        for name, figure in found["figures"].items()
    }
    about = {
        name: found[name] for name in ("machine", "versions", "revision", "environment", "probes", "began", "seconds")
    }
    return Results(
        shlex.split(found["command"])[3:],
        found["quick"],
        figures,
        found["settings"],
        found["plots"],
        found["failures"],
        found["shown"],
        about,
    )


def _summary(figure: Figure) -> Mapping[str, Any]:
    found = figure.interval
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "unit": figure.unit,
        "better": figure.better,
        "confidence": round(found.confidence, 4),
        **({"rounds": figure.rounds} if figure.rounds else {}),
    }
