"""One engine and one broadcast for the whole session, or for each of the processes that share it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from flask.testing import FlaskClient
from selenium.webdriver import Chrome

# Read by all of the session's engines, those of child processes included.
os.environ |= {
    "CAPTIONER_MODEL": "demo",
    "CAPTIONER_DTYPE": "float32",  # only then are the engine's tokens those of transformers on any machine
    "CAPTIONER_KV_CACHE_GIB": "0.25",
    "OMP_NUM_THREADS": "1",  # a second thread gains a model this small nothing, and on a busy machine waits ten times
}

from app import SmolVLM2Captioner
from demo.broadcast import Broadcast, make_segments, render
from engine.engine import Engine
from engine.model import model_in
from engine.settings import EngineSettings
from serving.front import restified
from tests.browser import MISSING, chromium, complaints, look
from tests.listening import listening
from tests.workers import pytest_collection_modifyitems, pytest_xdist_make_scheduler  # noqa: F401

if TYPE_CHECKING:
    from tests.reference import Transformers

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

Post = Callable[..., str]


def pytest_addoption(parser: pytest.Parser) -> None:
    kills = parser.getgroup("kills", "the killed backfill (tests/archive/test_kills.py)")
    kills.addoption("--kill-files", type=int, default=100, metavar="N", help="how many files it has")
    kills.addoption("--kill-seed", type=int, help="what the moments are drawn from")
    kills.addoption(
        "--in-process-kills", type=int, default=2, metavar="N", help="how many of the 10 hit one with its own engine"
    )


@pytest.fixture(scope="session")
def captioner() -> Iterator[SmolVLM2Captioner]:
    """The app, its engine warm: the only one of the session but for tests of start, death and shutdown."""
    made = SmolVLM2Captioner()
    made.engine.start()
    yield made
    made.engine.close()


@pytest.fixture(scope="session")
def engine(captioner: SmolVLM2Captioner) -> Engine:
    """The session's engine."""
    return captioner.engine


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine of the real model's sizes in px and tokens, with next to nothing behind them."""
    from bench import geometry

    folder = geometry.save_checkpoint(tmp_path_factory.mktemp("real"))
    settings = EngineSettings(model=str(folder), dtype="float32", kv_cache_gib=0.5)
    made = Engine(settings, model_in(folder))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def client(captioner: SmolVLM2Captioner) -> FlaskClient:
    """The app as an HTTP client sees it."""
    return restified(captioner).test_client()


@pytest.fixture(scope="module")  # the engine reports to the server that was made last
def url(captioner: SmolVLM2Captioner) -> Iterator[str]:
    """Where the app listens, without a slash at its end, for whoever needs a server and not only its answers."""
    with listening(restified(captioner).flask_app) as address:
        yield f"http://{address}"


@pytest.fixture(scope="session")
def post(client: FlaskClient) -> Post:
    """Posts a MMIF with parameters; returns the answer, which has to have the status that is expected."""

    def send(mmif: str, status: int = 200, **parameters: Any) -> str:
        response = client.post("/", data=mmif, query_string=parameters)
        assert response.status_code == status, response.text[-2000:]
        return response.text

    return send


@pytest.fixture(scope="session")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Broadcast:
    """Three minutes of synthetic broadcast."""
    folder: Path = tmp_path_factory.mktemp("broadcast")
    return render(folder / "broadcast.mp4", make_segments(180, seed=1))


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if MISSING:
        pytest.skip(MISSING)
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def browser(_chromium: Chrome) -> Chrome:
    """A real browser, as large as a desk's, with an empty page; skips the test where there is no Chromium."""
    _chromium.get("about:blank")
    look(_chromium)
    complaints(_chromium)  # those of the page before are not this test's
    return _chromium


@pytest.fixture(scope="session")
def transformers() -> "Transformers":
    """The demonstration model without vLLM."""
    from tests.reference import Transformers

    return Transformers()
