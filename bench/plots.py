"""Plots, made without a display, the same bytes for the same data."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's, which people see apart who don't see all colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#555555")

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "bench",
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
}


@contextlib.contextmanager
def plot(path: Path, width: float = 7, height: float = 4) -> Iterator["Axes"]:
    """
    Give axes to draw on; what was drawn is written to ``path`` when the block ends well, as its suffix says.

    :param width: in inches, as is ``height``
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
        try:
            yield axes
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        finally:
            pyplot.close(figure)
