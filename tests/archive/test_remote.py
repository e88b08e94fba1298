"""Servers: what they do right ends up in the archive, and what they do wrong does not."""

import email.utils
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app import SmolVLM2Captioner
from archive import remote
from archive.plan import Pass
from archive.remote import Patience, RemoteCaptioner, ServerError, Servers
from archive.work import FileFailed, Stopped
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.archive.servers import Faulty, Wsgi, answer, hang_up, served
from tests.captions import APP, pass_by_pass, without_times

QUICK = Patience(tries=3, backoff_seconds=0.01)


@pytest.fixture(scope="module")
def server(captioner: SmolVLM2Captioner) -> Iterator[Faulty]:
    with served(captioner) as faulty:
        yield faulty


@pytest.fixture(autouse=True)
def afresh(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        server.faults.clear()
        server.posts.clear()
        server.always = server.metadata = None


def passes(captioner: SmolVLM2Captioner, **given: dict[str, list[str]]) -> list[Pass]:
    return [Pass(name, values, captioner._refine_params(**values)) for name, values in given.items()]


@pytest.fixture
def two(captioner: SmolVLM2Captioner) -> list[Pass]:
    return passes(captioner, slates={"tfLabels": ["slate"]}, others={"tfLabels": ["chyron", "bars"], "topK": ["7"]})


def remote_captioner(asked: list[Pass], *urls: str, patience: Patience = QUICK, token: str = "") -> RemoteCaptioner:
    return RemoteCaptioner(urls, asked, APP, patience, token)


def caption(made: RemoteCaptioner, mmif: str) -> Any:
    try:
        return made.caption(mmif, lambda done, of: None)
    finally:
        made.close()


def in_a_row(captioner: SmolVLM2Captioner, mmif: str, asked: list[Pass]) -> Any:
    return pass_by_pass(captioner, mmif, {one.name: one.parameters for one in asked})


def test_the_same_as_calling_the_app_pass_by_pass(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass]
) -> None:
    given = swt_mmif(broadcast)
    made = caption(remote_captioner(two, server.url), given)
    assert without_times(made.mmif) == in_a_row(captioner, given, two)
    shown = [segment for segment in broadcast.segments if segment.kind in ("slate", "chyron", "bars")]
    assert (made.counts.captions, made.counts.time_frames) == (len(shown), len(shown))
    assert made.counts.frames == sum(min(3, int(segment.end - segment.start)) for segment in shown)
    assert (made.warnings, made.worker) == ((), server.url)
    assert [body["parameters"] for _, body in server.posts] == [one.parameters for one in two]
    assert {headers["HTTP_X_PRIORITY"] for headers, _ in server.posts} == {"background"}
    assert not any("HTTP_AUTHORIZATION" in headers for headers, _ in server.posts)


def test_a_prompt_longer_than_any_address_and_a_token(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast
) -> None:
    asked = passes(captioner, long={"tfLabels": ["slate"], "prompt": ["Describe. " * 900], "contextOverflow": ["skip"]})
    with pytest.raises(FileFailed, match=r'Pass "long": None of the TimeFrames.* tokens') as failed:
        caption(remote_captioner(asked, server.url, token="secret"), swt_mmif(broadcast))
    assert failed.value.cause == "captions"
    assert server.posts[0][0]["HTTP_AUTHORIZATION"] == "Bearer secret"


def other_mmif(broadcast: Broadcast) -> str:
    other = json.loads(swt_mmif(broadcast))
    other["documents"][0]["properties"]["id"] = "d9"
    return json.dumps(other)


def with_error(mmif: str, message: str) -> str:
    whole = json.loads(mmif)
    metadata = {"app": APP + "v1", "error": {"message": message}}
    whole["views"].append({"id": "v_9", "metadata": metadata, "annotations": []})
    return json.dumps(whole)


@pytest.mark.parametrize(
    "kind",
    [
        "503",
        "503 date",
        "429",
        "500",
        "502",
        "garbage",
        "empty",
        "half",
        "unchanged",
        "other",
        "hang up",
        "engine died",
    ],
)
def test_after_any_fault_it_is_sent_again_and_nothing_of_the_fault_stays(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass], kind: str
) -> None:
    given = swt_mmif(broadcast)
    faults: dict[str, Wsgi] = {
        "503": answer(503, "starting", Retry_After="0"),
        "503 date": answer(503, "starting", Retry_After=email.utils.formatdate(time.time() - 1, usegmt=True)),
        "429": answer(429, Retry_After="0"),
        "500": answer(500, "Internal Server Error"),
        "502": answer(502, "<html>Bad gateway</html>"),
        "garbage": answer(200, "\x00garbage"),
        "empty": answer(200),
        "half": answer(200, given[: len(given) // 2]),
        "unchanged": answer(200, given),
        "other": answer(200, other_mmif(broadcast)),
        "hang up": hang_up,
        "engine died": answer(500, with_error(given, "EngineDied: The engine died and could not be brought back.")),
    }
    server.faults.extend([faults[kind], faults[kind]])
    made = caption(remote_captioner(two, server.url), given)
    assert without_times(made.mmif) == in_a_row(captioner, given, two)
    assert len(server.posts) == 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answer(200, "garbage"), 'Pass "slates": no usable answer after 3 tries; at last .*answered 200.*not JSON'),
        (answer(500, "oops"), "after 3 tries.*answered 500"),
        (hang_up, "after 3 tries.*ended without an answer"),
    ],
)
def test_a_file_that_no_server_answers_is_given_up(
    server: Faulty, broadcast: Broadcast, two: list[Pass], fault: Wsgi, said: str
) -> None:
    server.always = fault
    with pytest.raises(FileFailed, match=said) as failed:
        caption(remote_captioner(two, server.url), swt_mmif(broadcast))
    assert failed.value.cause == "server"
    assert len(server.posts) == 3


def test_a_server_that_is_never_ready_is_nothing_the_file_can_help(
    server: Faulty, broadcast: Broadcast, two: list[Pass]
) -> None:
    server.always = answer(503, Retry_After="0")
    with pytest.raises(Stopped, match="No server has given a usable answer for too long.*answered 503"):
        caption(remote_captioner(two, server.url, patience=Patience(3, silence_seconds=2)), swt_mmif(broadcast))
    assert len(server.posts) > 3


def test_a_refusal_that_says_why_is_not_tried_again(server: Faulty, broadcast: Broadcast, two: list[Pass]) -> None:
    given = json.loads(swt_mmif(broadcast))
    given["documents"] = []
    given["views"] = []
    with pytest.raises(FileFailed, match='Pass "slates": ValueError: The input MMIF has no VideoDocument') as failed:
        caption(remote_captioner(two, server.url), json.dumps(given))
    assert failed.value.cause == "mmif"
    assert len(server.posts) == 1
    for broken, said in [("{", "not JSON"), ("[]", "not MMIF"), ('{"views": []}', "'metadata' is a required")]:
        with pytest.raises(FileFailed, match=said) as failed:
            caption(remote_captioner(two, server.url), broken)
        assert failed.value.cause == "mmif"
    for status in (400, 409, 413):
        server.posts.clear()
        server.always = answer(status, "too large")
        with pytest.raises(FileFailed, match=f"refused it with {status}: too large"):
            caption(remote_captioner(two, server.url), swt_mmif(broadcast))
        assert len(server.posts) == 1
    server.always = answer(401, "who are you?")
    with pytest.raises(Stopped, match="refused it with 401; see CAPTIONER_SERVER_TOKEN"):
        caption(remote_captioner(two, server.url), swt_mmif(broadcast))


@pytest.mark.parametrize("status", [302, 404, 502])
def test_while_a_server_is_away_only_what_it_had_in_hand_loses_a_try(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass], status: int
) -> None:
    made = remote_captioner(two, server.url, patience=Patience(tries=2, backoff_seconds=0.001))
    made.greet()
    asked: list[Any] = []

    def away(environ: dict[str, Any], start_response: Any) -> Any:
        asked.append(environ)
        server.metadata = away if len(asked) < 4 else None
        return answer(status, "not here")(environ, start_response)

    server.metadata = away
    server.faults.append(answer(status, "not here"))
    given = swt_mmif(broadcast)
    assert without_times(caption(made, given).mmif) == in_a_row(captioner, given, two)
    assert (len(asked), len(server.posts)) == (4, 1 + len(two))


def with_model(mmif: str, model: Any) -> str:
    whole = json.loads(mmif)
    metadata = {"app": APP + "v1", "appConfiguration": model}
    whole["views"].append({"id": "v_9", "metadata": metadata, "annotations": []})
    return json.dumps(whole)


def test_a_server_that_comes_back_with_another_model_gets_nothing_more(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass]
) -> None:
    given = swt_mmif(broadcast)
    metadata = json.loads(captioner.appmetadata())
    other_model = answer(200, json.dumps(metadata | {"analyzer_versions": {"other": "1"}}))
    with served(captioner) as other:
        for fault in (hang_up, answer(200, with_model(given, {"model": "other@1"}))):
            patience = Patience(1 + (fault is hang_up), backoff_seconds=0.001)
            made = remote_captioner(two, other.url, server.url, patience=patience)
            made.greet()
            other.posts.clear()
            server.posts.clear()
            other.faults.append(fault)
            other.metadata = other_model
            for _ in range(2):
                assert made.caption(given, lambda done, of: None).worker == server.url
            assert made.servers.complaints() == (
                f"{other.url}: {other.url} runs other@1, not {made.model}; one archive is captioned by one model."
            )
            assert (len(other.posts), len(server.posts)) == (1, 4)
            made.close()
            other.metadata = None
    server.always = answer(200, with_model(given, {"model": "other@1"}))
    with pytest.raises(Stopped, match=f"No server is there to caption.*{server.url} runs other@1, not demo@"):
        caption(remote_captioner(two, server.url), given)


@pytest.mark.parametrize("configuration", [None, {}, {"model": "demo"}, {"model": ["demo@0"]}])
def test_an_answer_that_does_not_name_a_revision_is_one(
    server: Faulty, broadcast: Broadcast, two: list[Pass], configuration: Any
) -> None:
    server.always = answer(200, with_model(swt_mmif(broadcast), configuration))
    with pytest.raises(FileFailed, match="it is not what was sent"):  # with the second pass
        caption(remote_captioner(two, server.url), swt_mmif(broadcast))


def test_a_pass_that_fails_costs_the_others_nothing(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast
) -> None:
    asked = passes(captioner, bad={"prompt": ["What is <image>?"]}, slates={"tfLabels": ["slate"]})
    made = caption(remote_captioner(asked, server.url), swt_mmif(broadcast))
    (bad, slates) = json.loads(made.mmif)["views"][-2:]
    assert (bad["metadata"]["pass"], slates["metadata"]["pass"]) == ("bad", "slates")
    assert "error" not in bad["metadata"]
    assert bad["annotations"] == []
    ((name, said),) = made.warnings
    assert name == "bad"
    assert [said] == bad["metadata"]["warnings"]
    assert said.startswith("CaptioningFailed: None of the TimeFrames could be captioned.")
    assert made.counts.captions == sum(segment.kind == "slate" for segment in broadcast.segments)


def test_another_server_takes_over(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass]
) -> None:
    with served(captioner) as broken:
        broken.always = answer(503, Retry_After="3600")
        made = caption(remote_captioner(two, broken.url, server.url), swt_mmif(broadcast))
        assert len(broken.posts) == 1
    assert len(server.posts) == 2
    assert made.worker == server.url


def test_servers_are_asked_what_they_are(captioner: SmolVLM2Captioner, server: Faulty, two: list[Pass]) -> None:
    made = remote_captioner(two, server.url)
    made.greet()
    assert made.model == captioner.engine.model.record
    made.close()
    with pytest.raises(ServerError, match="localhost:5000 is not the address of a server; write it as http://"):
        remote_captioner(two, "localhost:5000")
    with served(captioner) as other:
        metadata = json.loads(captioner.appmetadata())
        other.metadata = answer(200, json.dumps(metadata | {"analyzer_versions": {"other": "1"}}))
        made = remote_captioner(two, server.url, other.url)
        with pytest.raises(ServerError, match=f"{other.url} runs other@1, not demo@"):
            made.greet()
        made.close()
        other.metadata = answer(200, json.dumps(metadata | {"identifier": "http://apps.clams.ai/whisper/v1"}))
        made = remote_captioner(two, other.url)
        with pytest.raises(ServerError, match="is not this app, but http://apps.clams.ai/whisper/v1"):
            made.greet()
        made.close()
        other.metadata = answer(200, "<html>")
        made = remote_captioner(two, other.url, "http://127.0.0.1:1")
        with pytest.raises(ServerError, match="No server answers.*may be no CLAMS app.*127.0.0.1:1: can't be reached"):
            made.greet()
        made.close()


def test_a_server_that_turns_out_to_run_another_model_gets_nothing(
    captioner: SmolVLM2Captioner, server: Faulty, broadcast: Broadcast, two: list[Pass]
) -> None:
    with served(captioner) as other:
        other.metadata = answer(503)
        made = remote_captioner(two, server.url, other.url)
        made.greet()
        metadata = json.loads(captioner.appmetadata())
        other.metadata = answer(200, json.dumps(metadata | {"analyzer_versions": {"other": "1"}}))
        server.faults.append(answer(503, Retry_After="0"))
        assert caption(made, swt_mmif(broadcast)).worker == server.url
        assert other.posts == []


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_a_server_rests_as_long_as_it_asks_to_and_longer_each_time_if_it_does_not_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(remote, "time", clock)
    servers = Servers(["http://a", "http://b"], Patience(backoff_seconds=1))
    a = servers.take()
    servers.leave(a, remote._Trouble("full", blames_file=False, retry_after=40.0))
    assert a.resting_until == 1040
    b = servers.take(preferred=a)
    assert b.url == "http://b"
    rests = []
    for _ in range(8):
        servers.leave(b, remote._Trouble("no answer", blames_file=True))
        rests.append(b.resting_until - clock.now)
        clock.now = b.resting_until
        b = servers.take(preferred=b)
    assert all(2**n / 2 <= rest <= 2**n for n, rest in enumerate(rests[:6]))
    assert max(rests) <= 60
    servers.leave(b)
    assert (b.troubles, b.said) == (0, "")
    assert {servers.take().url, servers.take().url} == {"http://a", "http://b"}  # the one with fewer in flight


def test_no_answer_for_too_long_ends_it_unless_someone_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(remote, "time", clock)
    servers = Servers(["http://a", "http://b"], Patience(silence_seconds=100))
    clock.now += 101  # nobody was asked
    a, b = servers.take(), servers.take()
    servers.leave(b, remote._Trouble("answered 500", blames_file=True, retry_after=0.0))
    clock.now += 101
    b = servers.take(preferred=b)  # a may be busy with something large
    servers.leave(b, remote._Trouble("answered 500", blames_file=True, retry_after=0.0))
    servers.leave(a, remote._Trouble("answered 500", blames_file=True, retry_after=0.0))
    with pytest.raises(Stopped, match="http://a: answered 500. http://b: answered 500"):
        servers.take()


def test_who_waits_for_a_server_gives_up_when_the_backfill_is_to_end() -> None:
    servers = Servers(["http://a"], Patience())
    servers.leave(servers.take(), remote._Trouble("full", blames_file=False, retry_after=3600.0))
    servers.stop_waiting()
    with pytest.raises(Stopped, match="No server is there to caption. http://a: full"):
        servers.take()
