"""What a scenario is given: where its figures, tables and plots go, and the engines it may ask for."""

import argparse
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import plots
from bench.engines import Engines
from bench.results import Results
from bench.samples import Better, Figure, ratio_of_neighbours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Item = TypeVar("Item")

_LEAST_WIDTH = 150  # characters, where no terminal says how wide it is


class Run:
    """
    One run of one scenario.

    :param name: of the scenario; its figures' names begin with it
    :param quick: as little as shows that everything works
    :param options: the scenario's own, see ``add_options``
    :param results: to which everything is added
    :param plots: folder for plots, each a file of the suffix ``plot_format``
    :param engines: shared by all scenarios of the command
    """

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        results: Results,
        engines: Engines,
        progress: Progress,
    ) -> None:
        self.name = name
        self.options = options
        self.quick = results.quick
        self.engines = engines
        self.settings: dict[str, Any] = results.settings.setdefault(name, {})
        self.shown: list[RenderableType] = []
        self._results = results
        self._progress = progress

    def record(
        self, name: str, samples: float | Iterable[float], unit: str, better: Better = "", *, rounds: int = 0
    ) -> Figure:
        """
        Enter the samples of one quantity, in the order in which they were taken, under ``scenario.name``.

        :param rounds: in which they were taken, as many in each; 0 if there is one sample of each round
        """
        taken = tuple(samples) if isinstance(samples, Iterable) else (samples,)
        figure = self._results.figures[f"{self.name}.{name}"] = Figure(unit, tuple(map(float, taken)), better, rounds)
        return figure

    def record_ratio(self, name: str, numerator: Sequence[float], denominator: Sequence[float]) -> Figure:
        """Enter a ratio of samples that were taken in turns; its samples are the ratios within each round."""
        return self.record(name, ratio_of_neighbours(numerator, denominator), "x", "more")

    def show(self, what: RenderableType) -> None:
        """Print a table or a line of text when the scenario is done; results keep it, too."""
        self.shown.append(what)
        self._results.shown.setdefault(self.name, []).append(_plain(what))

    @contextlib.contextmanager
    def plot(self, name: str, **size: float) -> Iterator["Axes"]:
        """Give matplotlib axes to draw on; what was drawn becomes a file."""
        path = Path(self.options.plots) / f"{self.name}-{name}.{self.options.plot_format}"
        with plots.plot(path, **size) as axes:
            yield axes
        self._results.plots.append(str(path))

    def steps(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
        """Yield ``items``, with a progress bar."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        task = self._progress.add_task(f"{self.name}: {description}", total=total)
        try:
            for item in items:
                yield item
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def take_turns(
        self, contenders: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1
    ) -> dict[str, list[float]]:
        """
        Let contenders measure themselves in turns, so that a machine that drifts hits all alike.

        Each round calls every one once, and each round another one first.

        :param contenders: each measures once and returns the sample
        :param rounds: how many samples of each
        :param warm_up: rounds before them that do not count
        :returns: the samples of each, round by round
        """
        names = list(contenders)
        samples: dict[str, list[float]] = {name: [] for name in names}
        turns = [
            (number, name)
            for number in range(-warm_up, rounds)
            for name in names[number % len(names) :] + names[: number % len(names)]
        ]
        for number, name in self.steps(turns, "taking turns"):
            sample = contenders[name]()
            if number >= 0:
                samples[name].append(sample)
        return samples


def _plain(what: RenderableType) -> Any:
    if not isinstance(what, Table):
        return str(what)
    columns = [str(column.header) for column in what.columns]
    rows = [[str(cell) for cell in row] for row in zip(*(column.cells for column in what.columns))]
    return {"title": str(what.title or ""), "columns": columns, "rows": rows}


def new_progress(console: Console) -> Progress:
    """Make the progress bar; it is drawn once a second, so that it costs the measurement nothing."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=1,
        transient=True,
    )


def wide(console: Console) -> Console:
    """Return a console on which tables are not squeezed where there is no terminal."""
    return console if console.is_terminal else Console(file=console.file, width=max(_LEAST_WIDTH, console.width))
