"""Two results side by side: ratios, their spread, and whether they mean anything."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from bench.results import Results
from bench.samples import Better, Figure, Interval, ratio_of_independent, verdict

DRIFT = 0.05  # of the machine's own speed, from which on it is said
ONE_RUN = "one run can't tell"  # from another that was made at another time, however many calls there were in it


@dataclass(frozen=True)
class Difference:
    """
    One figure in two results.

    :param ratio: of the second to the first; ``None`` where there is none, as of 0
    """

    name: str
    before: Figure
    after: Figure
    ratio: Interval | None

    @property
    def verdict(self) -> str:
        """Say in a few words what it means."""
        one_run = 1 in (len(self.before.by_round), len(self.after.by_round))
        if (self.ratio is None or one_run) and sorted(self.before.samples) == sorted(self.after.samples):
            return "equal"
        if self.ratio is None:
            return "no ratio"
        if one_run:
            return ONE_RUN
        return verdict(self.ratio, self.better)

    @property
    def better(self) -> Better:
        """Which way the figure should go."""
        return self.after.better


def differences(before: Results, after: Results) -> Iterator[Difference]:
    """Yield the figures that both results have, in the order of the second."""
    for name, figure in after.figures.items():
        if name in before.figures and before.figures[name].unit == figure.unit:
            yield Difference(name, before.figures[name], figure, _ratio(before.figures[name], figure))


def drifted(results: Results) -> bool:
    """Whether the machine was not as fast at the end of a run as at its beginning."""
    first, last = results.about["probes"]
    return bool(abs(last / first - 1) > DRIFT)


def remarks(before: Results, after: Results) -> Iterator[str]:
    """Yield what a reader has to know before he believes the ratios."""
    for what in ("processor", "cores", "gpus"):
        if before.about["machine"][what] != after.about["machine"][what]:
            yield f"Different machines: {before.about['machine'][what]} and {after.about['machine'][what]}."
    speeds = [sum(results.about["probes"]) / 2 for results in (before, after)]
    if abs(speeds[1] / speeds[0] - 1) > DRIFT:
        yield (
            f"The machine itself was {speeds[1] / speeds[0]:.2f} times as fast in the second run (matrix product: "
            f"{speeds[0]:.0f} and {speeds[1]:.0f} GFLOP/s); measure both again, one after the other."
        )
    for results, which in ((before, "first"), (after, "second")):
        if drifted(results):
            first, last = results.about["probes"]
            yield f"The machine's speed changed during the {which} run, from {first:.0f} to {last:.0f} GFLOP/s."
        if results.quick:
            yield f"The {which} results are from a --quick run: a check that it runs, not a measurement."
    for name, version in after.about["versions"].items():
        if before.about["versions"].get(name) != version:
            yield f"{name} was {before.about['versions'].get(name, 'not there')}, and is {version}."
    missing = sorted(before.figures.keys() ^ after.figures.keys())
    if missing:
        yield f"Only in one of them: {', '.join(missing)}."


def report(before: Results, after: Results) -> RenderableType:
    """Return the comparison for a terminal."""
    table = Table(title="the second against the first; bounds hold the true ratio with the confidence given")
    for column in ("figure", "first", "second", "unit"):
        table.add_column(column, justify="left" if column in ("figure", "unit") else "right", overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("confidence", justify="right")
    table.add_column("verdict", no_wrap=True)
    for difference in differences(before, after):
        ratio = difference.ratio
        table.add_row(
            difference.name,
            f"{difference.before.interval.value:.4g}",
            f"{difference.after.interval.value:.4g}",
            difference.after.unit,
            f"{ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})" if ratio else "",
            f"{ratio.confidence:.0%}" if ratio else "",
            difference.verdict,
        )
    return Group(table, *remarks(before, after))


def _ratio(before: Figure, after: Figure) -> Interval | None:
    if min(*before.by_round, *after.by_round) <= 0:
        return None
    return ratio_of_independent(after.by_round, before.by_round)
