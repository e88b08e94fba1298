"""Videos for tests of the reader, and the check that it leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.sampling.video_files import make
from tests.sampling.watching import LONG, leftovers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    av.logging.set_level(av.logging.PANIC)
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def long_video(folder: Path) -> Path:
    return make(LONG, folder)


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No test may leave a reader's thread or an open video behind."""
    yield
    assert leftovers() == []
