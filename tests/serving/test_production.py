"""The production server as a process: gunicorn, its one worker, and the engine under it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast
from tests.captions import caption_views, captions, warnings
from tests.serving.process import ROOT, Server, start, stop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = start(tmp_path_factory.mktemp("server") / "log")
    yield made
    stop(made)


def test_refuses_work_until_it_is_warm_then_takes_it(server: Server, broadcast: Broadcast) -> None:
    refused = None
    while refused is None:
        try:
            refused = server.post(swt_mmif(broadcast, labels=["slate"]))
        except requests.ConnectionError:
            time.sleep(0.1)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["state"] == "starting"
    assert server.get("/health/ready").status_code == 503
    assert server.get("/health/live").status_code == 200
    assert server.get("/").json()["name"] == "SmolVLM2 Captioner"  # metadata at once
    server.await_ready()
    assert server.get("/health/ready").json()["model"].startswith("demo@")
    assert captions(server.post(swt_mmif(broadcast, labels=["slate"])).text)


def test_concurrent_calls_over_one_engine(server: Server, broadcast: Broadcast) -> None:
    server.await_ready()
    swt, intervals = swt_mmif(broadcast), interval_mmif(broadcast, unit="seconds")
    calls: dict[str, tuple[str, dict[str, object]]] = {
        "slates": (swt, {"tfLabels": "slate", "parallelPrompts": 4}),
        "chyrons, one prompt": (swt, {"tfLabels": "chyron", "prompt": "Describe."}),
        "all": (swt, {"tfSamplingMode": "all", "tfLabels": "credits", "maxImagesPerPrompt": 4, "parallelPrompts": 2}),
        "single": (swt, {"tfSamplingMode": "single", "parallelPrompts": 16}),
        "intervals": (intervals, {"tfSamplingMode": "single", "systemPrompt": "Be brief."}),
        "turns": (swt, {"tfLabels": "bars", "prompt": ["What?", "A card.", "Describe."], "promptMode": "turn-taking"}),
        "nothing": (swt, {"tfLabels": "weather"}),
    }
    answers: dict[str, requests.Response] = {}

    def call(name: str) -> None:
        answers[name] = server.post(calls[name][0], **calls[name][1])

    threads = [threading.Thread(target=call, args=[name]) for name in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, answer in answers.items():
        assert answer.status_code == 200, name
        if name == "nothing":
            assert caption_views(answer.text) == []
            assert any("weather" in warning for warning in warnings(answer.text))
            continue
        found = captions(answer.text)
        assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]
        order = [int(caption.time_frame.rpartition("_")[2]) for caption in found]
        assert order == sorted(order)
        recorded = json.loads(answer.text)["views"][-1]["metadata"]["parameters"]
        assert recorded == {k: str(v) for k, v in calls[name][1].items()}
        assert warnings(answer.text) == []
    labels = {"slates": "slate", "chyrons, one prompt": "chyron", "all": "credits", "turns": "bars"}
    for name, label in labels.items():
        kinds = {phrase.split()[0] for caption in captions(answers[name].text) for phrase in caption.text.split("; ")}
        assert kinds == {label}
    assert len(captions(answers["single"].text)) == len(broadcast.segments)


def test_one_worker_one_engine(server: Server) -> None:
    server.await_ready()
    names = [process.name() for process in server.family()]
    assert sum("EngineCore" in name for name in names) == 1
    assert len(psutil.Process(server.process.pid).children()) == 1


def test_clients_that_keep_their_side_open_hold_nobody_up(server: Server) -> None:
    server.await_ready()
    began = time.monotonic()
    lingering = [server.get_and_stay("/health/live") for _ in range(8)]
    assert server.get("/health/live").status_code == 200
    assert time.monotonic() - began < 2  # gunicorn would wait so long for the first of them
    server.until(lambda: all(map(_is_reset, lingering)))  # and yet no connection is left behind
    for connection in lingering:
        connection.close()


def _is_reset(connection: socket.socket) -> bool:
    try:
        connection.send(b"x")
    except OSError:
        return True
    return False


def test_signals_that_mean_a_reload_to_gunicorn_change_nothing(server: Server, broadcast: Broadcast) -> None:
    server.await_ready()
    arbiter, worker = psutil.Process(server.process.pid), server.worker
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
        arbiter.send_signal(number)
        worker.send_signal(number)
    time.sleep(2)  # the arbiter looks once a second
    assert server.worker == worker
    assert worker.status() != psutil.STATUS_STOPPED
    assert captions(server.post(swt_mmif(broadcast, labels=["slate"])).text)


def test_nobody_can_ask_gunicorn_for_another_worker(server: Server) -> None:
    server.await_ready()
    sockets = psutil.Process(server.process.pid).net_connections(kind="unix")
    assert not [each for each in sockets if str(each.laddr).endswith(".ctl")]


def test_a_killed_engine_costs_nothing_but_time(server: Server, broadcast: Broadcast) -> None:
    server.await_ready()
    call: dict[str, object] = {"tfSamplingMode": "all", "maxImagesPerPrompt": 1, "parallelPrompts": 4}
    undisturbed = captions(server.post(swt_mmif(broadcast), **call).text)
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(server.post(swt_mmif(broadcast), **call)))
    (core,) = [process for process in server.family() if "EngineCore" in process.name()]
    before = core.cpu_times().user
    thread.start()
    while core.cpu_times().user < before + 0.5:  # until it is at work
        time.sleep(0.02)
    core.kill()
    while (refused := server.get("/health/ready")).status_code == 200:
        time.sleep(0.05)
    assert refused.json()["state"] == "restarting"
    thread.join()
    assert answers[0].status_code == 200
    assert captions(answers[0].text) == undisturbed
    assert warnings(answers[0].text) == []
    server.await_ready()
    (successor,) = [process for process in server.family() if "EngineCore" in process.name()]
    assert successor.pid != core.pid


def test_an_engine_that_can_not_come_back_ends_the_server(tmp_path: Path, broadcast: Broadcast) -> None:
    server = start(tmp_path / "log", "--max-restarts", "0")
    server.await_ready()
    family = server.family()
    (core,) = [process for process in family if "EngineCore" in process.name()]
    core.kill()
    assert server.process.wait(timeout=120) == 3
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_a_model_that_is_not_there_ends_the_server(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CAPTIONER_HF_HOME": str(tmp_path)}
    del environment["CAPTIONER_MODEL"]
    command = [sys.executable, "app.py", "--production", "--host", "127.0.0.1", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3
    assert "CAPTIONER_MODEL=demo" in done.stderr


def test_a_wrong_setting_ends_the_server_at_once() -> None:
    command = [sys.executable, "app.py", "--production", "--max-seqs", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("app.py: CAPTIONER_MAX_SEQS (--max-seqs)")


def test_an_interrupt_leaves_no_process(server: Server) -> None:  # the last, since the server is gone then
    server.await_ready()
    family = server.family()
    assert len(family) >= 3
    os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does
    assert server.process.wait(timeout=120) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
