"""How a production server ends while it has work."""

import signal
from pathlib import Path

import psutil
import pytest

from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import captions, warnings
from tests.serving.process import Server, start

ONE_BY_ONE = {"tfSamplingMode": "all", "maxImagesPerPrompt": 1, "parallelPrompts": 4}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = start(tmp_path / "log", "--grace-seconds", "500")
    made.await_ready()
    return made


def drains(server: Server, broadcast: Broadcast) -> None:
    server.until(lambda: server.get("/health/ready").status_code == 503)
    assert server.get("/health/ready").json()["state"] == "draining"
    assert server.get("/health/live").status_code == 200
    refused = server.post(swt_mmif(broadcast))
    assert (refused.status_code, refused.json()["state"]) == (503, "draining")
    assert int(refused.headers["Retry-After"]) > 0
    assert len(server.calls()) == 1


def ended(server: Server, family: list[psutil.Process]) -> None:
    assert server.process.wait(timeout=300) == 0, server.log.read_text()
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_calls_in_flight_are_finished_and_no_other_is_begun(server: Server, broadcast: Broadcast) -> None:
    family = server.family()
    with server.engine_stopped():
        call = server.open(swt_mmif(broadcast), **ONE_BY_ONE)
        server.until(lambda: bool(server.calls()) and server.calls()[0]["stages"]["generating"] > 0)
        server.process.terminate()
        drains(server, broadcast)
    status, _, body = call.answer()
    assert status == 200
    found = captions(body.decode())
    assert len(found) == 180
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
    assert warnings(body.decode()) == []
    ended(server, family)


@pytest.mark.parametrize("core", [False, True], ids=["before its process", "with its process"])
def test_while_the_engine_starts(core: bool, tmp_path: Path) -> None:
    server = start(tmp_path / "log")
    server.until(server.listens)
    lingering = server.get_and_stay("/health/live")
    server.until(lambda: not core or server.has_core())
    assert server.get("/health/ready").json()["state"] == "starting"
    family = server.family()
    server.process.terminate()
    ended(server, family)
    assert "CRITICAL" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
    lingering.close()


def test_a_second_signal_cancels_them_and_tells_their_callers(server: Server, broadcast: Broadcast) -> None:
    family = server.family()
    server.core().suspend()  # and never resumed
    call = server.open(swt_mmif(broadcast), **ONE_BY_ONE)
    server.until(lambda: bool(server.calls()) and server.calls()[0]["stages"]["generating"] > 0)
    server.process.terminate()
    drains(server, broadcast)

    def cancelled() -> bool:
        server.process.send_signal(signal.SIGTERM)
        return call.answered()

    server.until(cancelled)
    status, headers, body = call.answer()
    assert (status, int(headers["retry-after"]) > 0) == (503, True)
    assert b"shutting down and cancelled the call; nothing was done" in body
    ended(server, family)
