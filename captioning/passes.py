"""Several passes over one MMIF: done together, though the SDK, which stands between, annotates one after the other."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from captioning.call import Outcome


@dataclass(frozen=True)
class Annotated:
    """
    A MMIF after all passes.

    :param mmif: as JSON
    :param outcomes: of each pass, by its name
    """

    mmif: str
    outcomes: dict[str, Outcome]


class Passes:
    """
    The passes of one call.

    :param names: of the passes, which their views are marked with
    :param do_all: does the work of all of them; called once, when the first outcome is asked for
    """

    def __init__(self, names: Sequence[str], do_all: Callable[[], list[Outcome]]) -> None:
        self._names = names
        self._do_all = do_all
        self._outcomes: list[Outcome] = []
        self._number = 0

    @property
    def name(self) -> str:
        """Of the pass that is being annotated."""
        return self._names[self._number]

    def outcome(self) -> Outcome:
        """Return that of the pass that is being annotated."""
        return self.outcomes()[self._number]

    def outcomes(self) -> list[Outcome]:
        """Return those of all passes."""
        if not self._outcomes:
            self._outcomes = self._do_all()
        return self._outcomes

    @contextlib.contextmanager
    def annotating(self, number: int) -> Iterator[None]:
        """Make pass ``number`` the one that :func:`current` is about in this context."""
        self._number = number
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Passes | None] = ContextVar("passes", default=None)


def current() -> Passes | None:
    """Return the passes that this context is in the middle of; ``None`` in a call of one."""
    return _current.get()
