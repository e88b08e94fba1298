"""An engine whose vLLM is played, for the tests that say what its prompts come to."""

from collections.abc import Iterator

import pytest

from engine.engine import Engine
from tests.engine.played import Played, started


@pytest.fixture
def played() -> Played:
    """What the vLLM of ``mortal`` does, and what it saw."""
    return Played()


@pytest.fixture
def mortal(played: Played, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on it, of the test's own."""
    with started(played, monkeypatch) as made:
        yield made
