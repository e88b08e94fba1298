"""Many callers of one production server: turns, bounds, priorities, and callers that go away."""

import json
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests

from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import captions, warnings
from tests.serving.process import Connection, Server, start, stop

MIB = 1024**2
IN_ENGINE, CALLS, PROMPTS_WAITING, HELD_MIB, BODY_MIB = 8, 32, 44, 256, 60
FLAGS = {
    "--prompts-in-engine": IN_ENGINE,
    "--max-calls": CALLS,
    "--max-prompts-waiting": PROMPTS_WAITING,
    "--max-held-mib": HELD_MIB,
    "--max-body-mib": BODY_MIB,
    "--frame-budget-mib": 64,  # 54 frames of the broadcast: so many prompts of one frame can be with the engine
    "--client-seconds": 15,
    "--log-format": "json",
}
SECRET = "what only the caller and the model know"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, broadcast: Broadcast) -> Iterator[Server]:
    flags = FLAGS | {"--media-root": broadcast.path.parent}
    made = start(tmp_path_factory.mktemp("sharing") / "log", *(str(part) for flag in flags.items() for part in flag))
    made.await_ready()
    yield made
    stop(made)


@pytest.fixture
def idle(server: Server) -> Iterator[Server]:
    """The server, with nothing to do before and after."""
    server.until(lambda: server.load() == {"calls": 0, "prompts": 0, "bytes": 0})
    yield server
    server.until(lambda: server.load() == {"calls": 0, "prompts": 0, "bytes": 0})


def one_by_one(broadcast: Broadcast, prompts: int) -> str:
    """So many prompts and more, of one frame each."""
    return swt_mmif(broadcast, first_ms=250, step_ms=round(len_ms(broadcast) / (prompts + 1)))


def len_ms(broadcast: Broadcast) -> float:
    return float(broadcast.segments[-1].end - broadcast.segments[0].start) * 1000


ONE_BY_ONE: dict[str, Any] = {"tfSamplingMode": "all", "maxImagesPerPrompt": 1}


def right(answer: str, broadcast: Broadcast) -> int:
    """How many captions there are, all of which say what their frames show."""
    found = captions(answer)
    for caption in found:
        assert caption.text == broadcast.expected_caption(caption.times)
    return len(found)


def test_32_calls_of_uneven_size_at_once(idle: Server, broadcast: Broadcast) -> None:
    labels = sorted({segment.kind for segment in broadcast.segments})
    asked = [
        {"tfLabels": labels[n % len(labels)], "parallelPrompts": 1 + n % 2, "maxImagesPerPrompt": (0, 1, 4)[n % 3]}
        | ({"tfSamplingMode": "all"} if n % 2 else {})
        for n in range(CALLS)
    ]
    mmif = swt_mmif(broadcast)
    alone = {n: right(idle.post(mmif, **asked[n]).text, broadcast) for n in (0, 1, 2, 3)}
    answers: list[requests.Response | None] = [None] * CALLS

    def call(number: int) -> None:
        answers[number] = idle.post(mmif, **asked[number])

    threads = [threading.Thread(target=call, args=[number]) for number in range(CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = set()
    for number, answer in enumerate(answers):
        assert answer is not None
        assert answer.status_code == 200, answer.text
        assert warnings(answer.text) == []
        counted = right(answer.text, broadcast)
        if number in alone:
            assert counted == alone[number]
        kinds = {phrase.split()[0] for found in captions(answer.text) for phrase in found.text.split("; ")}
        assert kinds == {asked[number]["tfLabels"]}
        ids.add(answer.headers["X-Call-Id"])
    assert len(ids) == CALLS


def test_one_prompt_does_not_wait_for_200(idle: Server, broadcast: Broadcast) -> None:
    large = idle.open(one_by_one(broadcast, 200), **ONE_BY_ONE, parallelPrompts=40)
    idle.until(lambda: any(call["done"] > 2 for call in idle.calls()))
    (seen,) = idle.calls()
    assert seen["total"] >= 200
    assert seen["stages"]["generating"] <= IN_ENGINE
    assert seen["stages"]["waiting"] + seen["stages"]["generating"] <= 40
    assert seen["parameters"]["parallelPrompts"] == 40
    small = idle.post(swt_mmif(broadcast, labels=["slate"]), tfSamplingMode="single")
    (seen,) = idle.calls()  # the large one is still there
    assert seen["done"] < seen["total"]
    assert right(small.text, broadcast) >= 1
    status, headers, body = large.answer()
    assert (status, headers["x-call-id"]) == (200, seen["id"])
    assert right(body.decode(), broadcast) == seen["total"]


def test_a_background_call_lets_others_go_first(idle: Server, broadcast: Broadcast) -> None:
    lower = {"X-Priority": "background"}
    with idle.engine_stopped():
        background = idle.open(one_by_one(broadcast, 150), lower, **ONE_BY_ONE, parallelPrompts=16)
        idle.until(lambda: bool(idle.calls()) and idle.calls()[0]["stages"]["generating"] == IN_ENGINE)
        normal = idle.open(swt_mmif(broadcast, labels=["slate", "bars"]), tfSamplingMode="single", parallelPrompts=16)
        idle.until(lambda: len(idle.calls()) == 2 and idle.calls()[1]["total"] > 0)
        assert [call["priority"] for call in idle.calls()] == ["background", "normal"]
    status, _, body = normal.answer()
    assert status == 200
    (left,) = idle.calls()
    assert left["priority"] == "background"
    assert left["done"] < left["total"]
    assert right(body.decode(), broadcast) >= 2  # all of them passed by those that wait
    assert right(background.answer()[2].decode(), broadcast) == left["total"]


@pytest.mark.parametrize("priority", ["high", "Background", "1", ""])
def test_nobody_raises_itself(idle: Server, broadcast: Broadcast, priority: str) -> None:
    answer = idle.post(swt_mmif(broadcast), {"X-Priority": priority})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        f"X-Priority must be background, or normal, which is the default; got '{priority}'"
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_wrong_time_limit(idle: Server, broadcast: Broadcast, seconds: str) -> None:
    answer = idle.post(swt_mmif(broadcast), {"X-Timeout-Seconds": seconds})
    assert answer.status_code == 400
    assert answer.json()["error"] == f"X-Timeout-Seconds must be a number of seconds above 0; got '{seconds}'."


def test_at_its_time_limit_a_call_returns_what_is_done(idle: Server, broadcast: Broadcast) -> None:
    first = idle.open(swt_mmif(broadcast, labels=["slate"]), {"X-Timeout-Seconds": "600"}, parallelPrompts=1)
    assert first.answer()[0] == 200
    with idle.engine_stopped():
        nothing = idle.post(swt_mmif(broadcast), {"X-Timeout-Seconds": "0.5"}, parallelPrompts=4)
    assert nothing.status_code == 500
    assert "the call's time of 0.5 s was over" in nothing.text


STAGES: dict[str, dict[str, int]] = {
    # What is read beyond that waits for the call's own window.
    "generating": {"parallelPrompts": 1, "generating": 1, "waiting": 0},
    "waiting": {"parallelPrompts": 12, "generating": IN_ENGINE, "waiting": 12 - IN_ENGINE},
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_goes_away_while_its_prompts_are(idle: Server, broadcast: Broadcast, stage: str) -> None:
    expected = {name: count for name, count in STAGES[stage].items() if name != "parallelPrompts"}

    def reached() -> bool:
        calls = idle.calls()
        return bool(calls) and {name: calls[0]["stages"][name] for name in expected} == expected

    with idle.engine_stopped():
        call = idle.open(one_by_one(broadcast, 60), **ONE_BY_ONE, parallelPrompts=STAGES[stage]["parallelPrompts"])
        idle.until(reached)
        assert idle.load()["bytes"] > 0
        call.close()
        idle.until(lambda: idle.load() == {"calls": 0, "prompts": 0, "bytes": 0})
    assert right(idle.post(swt_mmif(broadcast, labels=["slate"])).text, broadcast) >= 1


def test_a_client_that_goes_away_while_its_frames_are_read(idle: Server, broadcast: Broadcast) -> None:
    with idle.engine_stopped():
        first = idle.open(one_by_one(broadcast, 60), **ONE_BY_ONE, parallelPrompts=32)
        idle.until(lambda: idle.load()["bytes"] > 63 * MIB)  # one frame more is more than the budget
        second = idle.open(swt_mmif(broadcast, labels=["slate"]))
        # Its reader waits for bytes that the first call's frames hold.
        idle.until(lambda: len(idle.calls()) == 2 and idle.calls()[1]["stages"]["reading"] == 1)
        assert idle.calls()[1]["stages"] | {"queued": 0} == {"queued": 0, "reading": 1, "waiting": 0, "generating": 0}
        second.close()
        idle.until(lambda: len(idle.calls()) == 1)
        first.close()
        idle.until(lambda: idle.load() == {"calls": 0, "prompts": 0, "bytes": 0})


def test_a_client_that_goes_away_while_it_sends(idle: Server) -> None:
    call = idle.open(b"{", {"Content-Length": "1000"})
    idle.until(lambda: idle.load() == {"calls": 1, "prompts": 0, "bytes": 1000})
    call.close()


def test_delete_cancels_a_call(idle: Server, broadcast: Broadcast) -> None:
    with idle.engine_stopped():
        call = idle.open(one_by_one(broadcast, 60), **ONE_BY_ONE, prompt=SECRET)
        idle.until(lambda: bool(idle.calls()) and idle.calls()[0]["stages"]["generating"] == 1)
        (seen,) = idle.calls()
        assert SECRET not in str(seen)
        assert seen["parameters"]["tfSamplingMode"] == "all"
        assert requests.delete(idle.url + "/calls/nobody", timeout=60).status_code == 404
        assert requests.delete(f"{idle.url}/calls/{seen['id']}", timeout=60).json()["status"] == "cancelled"
        status, headers, body = call.answer()
    assert (status, headers["x-call-id"]) == (409, seen["id"])
    assert b"deleted by an operator" in body


def refused(server: Server, bound: str, value: int, limit: int, call: Connection) -> None:
    status, headers, body = call.answer()
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    told = json.loads(body)
    assert (told["bound"], told["limit"]) == (bound, limit)
    assert told["value"] >= value
    assert str(limit) in told["error"]
    for path in ("/health/live", "/health/ready", "/calls", "/"):
        assert server.get(path).status_code == 200


def test_bound_of_calls(idle: Server, broadcast: Broadcast) -> None:
    mmif = swt_mmif(broadcast, labels=["slate"])
    with idle.engine_stopped():
        calls = [idle.open(mmif, tfSamplingMode="single") for _ in range(CALLS)]
        idle.until(lambda: len(idle.calls()) == CALLS)
        refused(idle, "calls", CALLS + 1, CALLS, idle.open(mmif))
    for call in calls:
        status, _, body = call.answer()
        assert status == 200
        assert right(body.decode(), broadcast) >= 1


def test_bound_of_prompts(idle: Server, broadcast: Broadcast) -> None:
    with idle.engine_stopped():
        call = idle.open(one_by_one(broadcast, 60), **ONE_BY_ONE, parallelPrompts=60)
        idle.until(lambda: idle.load()["prompts"] >= PROMPTS_WAITING)
        refused(idle, "prompts", PROMPTS_WAITING + 1, PROMPTS_WAITING, idle.open(swt_mmif(broadcast)))
    status, _, body = call.answer()
    assert status == 200
    assert right(body.decode(), broadcast) >= 60


def test_bound_of_bytes(idle: Server, broadcast: Broadcast) -> None:
    announced = {"Content-Length": str(BODY_MIB * MIB)}
    calls = [idle.open(b"{", announced) for _ in range(HELD_MIB // BODY_MIB)]
    idle.until(lambda: len(idle.calls()) == len(calls))
    value = (len(calls) + 1) * BODY_MIB * MIB
    refused(idle, "bytes", value, HELD_MIB * MIB, idle.open(b"{", announced))
    assert idle.post(swt_mmif(broadcast, labels=["slate"])).status_code == 200  # a small one still gets in
    for call in calls:
        call.close()


def test_a_client_that_falls_silent(idle: Server) -> None:
    status, _, body = idle.open(b"{", {"Content-Length": "1000"}).answer()
    assert status == 400
    assert b"could not be read" in body


def test_a_body_that_is_too_large(idle: Server) -> None:
    size = str(BODY_MIB * MIB + 1)
    status, headers, body = idle.open(b"", {"Content-Length": size}).answer()
    assert status == 413
    assert "x-call-id" not in headers  # it was no call, and took nobody's room
    assert f"larger than {BODY_MIB} MiB".encode() in body


ESCAPES = {
    "..": "file://{root}/../{outside}/secret.mp4",
    "encoded": "file://{root}/%2e%2e%2f{outside}/secret.mp4",
    "a link": "file://{root}/link.mp4",
    "a link to a folder": "file://{root}/folder/secret.mp4",
    "another folder": "file://{base}/{outside}/secret.mp4",
    "nothing there": "file://{base}/{outside}/nothing.mp4",
    "file on a host": "file://archive.example{root}/broadcast.mp4",
    "http": "http://127.0.0.1:9{root}/broadcast.mp4",
    "https": "https://archive.example/broadcast.mp4",
}


@pytest.mark.parametrize("way", ESCAPES)
def test_no_way_leads_out_of_the_media_root(
    idle: Server, broadcast: Broadcast, tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    root, outside = broadcast.path.parent, tmp_path_factory.mktemp("outside")
    assert root.parent == outside.parent
    shutil.copy(broadcast.path, outside / "secret.mp4")  # which could be captioned
    for link, to in (("link.mp4", outside / "secret.mp4"), ("folder", outside)):
        (root / link).unlink(missing_ok=True)
        (root / link).symlink_to(to)
    location = ESCAPES[way].format(root=root, base=root.parent, outside=outside.name)
    mmif, inside = swt_mmif(broadcast, labels=["slate"]), f"file://{broadcast.path}"
    assert inside in mmif
    answer = idle.post(mmif.replace(inside, location))
    assert answer.status_code == 500
    assert "TextDocument/" not in answer.text
    told = answer.text.replace(location, "")
    assert "outside of the folders" in told or "on another host" in told
    assert outside.name not in told and "secret" not in told and "nothing.mp4" not in told
    assert right(idle.post(mmif).text, broadcast) >= 1


def test_prompts_and_captions_are_not_logged(idle: Server, broadcast: Broadcast) -> None:
    answer = idle.post(swt_mmif(broadcast, labels=["slate"]), prompt=SECRET, systemPrompt=SECRET)
    failed = idle.post(swt_mmif(broadcast), prompt=SECRET, maxNewTokens="many")
    assert (answer.status_code, failed.status_code) == (200, 500)
    assert SECRET in failed.text or "maxNewTokens" in failed.text
    lines = idle.log_lines()
    assert SECRET not in str(lines)
    own = [line for line in lines if line["call"] == answer.headers["X-Call-Id"]]
    assert [line["message"] for line in own] == ["Call begins", "Call ends"]
    assert (own[1]["status"], own[1]["captions"], own[1]["warnings"]) == (200, len(captions(answer.text)), {})
    texts = [caption.text for caption in captions(answer.text)]
    assert not [text for text in texts if text in str(lines)]
    traced = [line for line in lines if line["call"] == failed.headers["X-Call-Id"]]
    assert any("maxNewTokens" in line.get("traceback", "") for line in traced)


def test_a_killed_server_leaves_no_process(server: Server, broadcast: Broadcast) -> None:
    """The last of this file: the server is gone after it."""
    family = server.family()
    call = server.open(one_by_one(broadcast, 60), **ONE_BY_ONE, parallelPrompts=16)
    server.until(lambda: any(seen["stages"]["generating"] > 0 for seen in server.calls()))
    server.process.kill()
    server.process.wait()
    assert psutil.wait_procs(family, timeout=120)[1] == []
    call.close()
