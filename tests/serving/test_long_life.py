"""One server process through much of what it will meet: watched, bereft of its engine, attacked, and used a lot."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from bench.calls import Call, slate
from bench.fuzzing.attack import Attack
from bench.server import Server, serving
from bench.soak import Soak
from tests.serving.queries import BY_PROMETHEUS, queries, wanted

CASES = 300
CALLS = 240
CLIENTS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("long-life")


@pytest.fixture(scope="module")
def call(folder: Path) -> Call:
    return slate(folder)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder / "log", kv_cache_gib="0.25") as made:
        yield made


def _samples(server: Server) -> dict[tuple[str, str], float]:
    """All samples of /metrics, by their names and labels; each may be there once only."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(requests.get(server.url + "/metrics", timeout=60).text):
        for sample in family.samples:
            key = (sample.name, json.dumps(sample.labels, sort_keys=True))
            assert key not in found, key
            found[key] = sample.value
    return found


def _total(samples: dict[tuple[str, str], float], name: str) -> float:
    return sum(value for (known, _), value in samples.items() if known == name)


def test_dashboard_and_alerts_ask_for_what_there_is(server: Server, call: Call) -> None:
    call.make(server.url)
    there: dict[str, dict[str, set[str]]] = {"up": {label: set() for label in BY_PROMETHEUS}}
    for name, labels in _samples(server):
        known = there.setdefault(name, {label: set() for label in BY_PROMETHEUS})
        for label, value in json.loads(labels).items():
            known.setdefault(label, set()).add(value)
    asked = [wanted(query) for query in queries()]
    names = {name for query in asked for name in query}
    assert len(names - {"up"}) > 25
    assert names - there.keys() == set()
    for query in asked:
        for name, selected in query.items():
            for label, values in selected.items():
                assert values <= there[name][label], (name, label)


def test_an_engine_that_comes_back_is_counted_once(server: Server, call: Call) -> None:
    before = _samples(server)
    (core,) = [process for process in server.family if "EngineCore" in process.name()]
    core.kill()
    while requests.get(server.url + "/health/ready", timeout=60).status_code == 200:
        pass
    while requests.get(server.url + "/health/ready", timeout=60).status_code != 200:
        psutil.wait_procs([core], timeout=0.2)
    call.make(server.url)
    after = _samples(server)  # in which nothing is there twice
    assert before.keys() == after.keys()
    assert {labels for name, labels in after if name == "vllm:num_requests_running"} == {
        json.dumps({"engine": "0", "model_name": "demo"})
    }
    assert _total(after, "captioner_engine_restarts_total") == _total(before, "captioner_engine_restarts_total") + 1
    assert _total(after, "captioner_captions_total") == _total(before, "captioner_captions_total") + 1
    assert _total(after, "vllm:request_success_total") == 2  # the new engine's own: warming up, and the call


def test_malformed_requests_are_answered_and_explained(server: Server, folder: Path) -> None:
    attack = Attack(server.url, folder, seed=1)
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(attack.send, range(CASES)))
    attack.check_health()
    assert attack.complaints == []
    assert sum(attack.answers.values()) == CASES
    assert {kind for kind, status in attack.answers if status == 200} >= {"mmif", "parameters", "headers"}


def test_many_calls_leave_no_thread_and_no_descriptor_behind(server: Server, call: Call) -> None:
    soak = Soak(server, call, clients=CLIENTS)
    soak.run(CALLS)
    # Memory settles only after more calls than there is time for here: python -m bench soak.
    assert [grown for grown in soak.growth() if "bytes" not in grown] == []
