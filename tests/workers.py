"""
How two processes and more share the tests (``make test``): by files, since what a module makes it makes once.

Each of them is a session, with an engine of its own. Files that last long go first, so that none of them is left for
the end, when there is nothing to do beside it.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

# The SDK asks where the program lies, to find the app's version with it; that of such a process is a text.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = str(Path(pytest.__file__).with_name("__main__.py"))

# Those that start engines of their own, most of all first; each start takes 20 s.
FIRST = (
    "tests/bench/test_all_quick.py",
    "tests/engine/test_engine_life.py",
    "tests/serving/test_production.py",
    "tests/archive/test_kills.py",
    "tests/engine/test_fitting.py",
    "tests/serving/test_long_life.py",
    "tests/serving/test_ending.py",
    "tests/serving/test_sharing.py",
    "tests/archive/test_cluster.py",
    "tests/archive/test_interrupts.py",
    "tests/docs/test_code_blocks.py",
    "tests/test_cli.py",
    "tests/sampling/test_video_equality.py",
)
# What several files share: the engine of the real model's sizes, which takes a while to start.
TOGETHER = ("tests/engine/test_fitting.py", "tests/engine/test_seeds.py", "tests/engine/test_structure.py")


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _unit(nodeid: str) -> str:
    """What a test goes to a process with."""
    file = _file(nodeid)
    return TOGETHER[0] if file in TOGETHER else file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long ones first, where there are others to do the rest meanwhile."""
    if hasattr(config, "workerinput"):
        ranks = {file: rank for rank, file in enumerate(FIRST)}
        items.sort(key=lambda item: ranks.get(_unit(item.nodeid), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests in their order, those of a unit to one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    config.option.loadscopereorder = False
    return ByUnit(config, log)
