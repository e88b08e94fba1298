"""What is answered when the server itself fails a call."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from engine.errors import EngineDied


def test_an_engine_that_goes_away_under_a_call_is_no_error_of_its_input(
    client: FlaskClient, captioner: SmolVLM2Captioner, broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(**_: Any) -> None:
        raise EngineDied("The engine died and could not be brought back.")

    mmif = swt_mmif(broadcast, labels=["slate"])
    with monkeypatch.context() as patched:
        patched.setattr(captioner.engine, "open_call", gone)
        answer = client.post("/", data=mmif)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(answer.headers["X-Call-Id"]) == 12
    assert answer.json == {
        "error": "The engine went away under the call; nothing was done. Send it again later.",
        "cause": "engine_gone",
    }
    assert client.get("/calls").json == []
    assert client.post("/", data=mmif).status_code == 200


def test_an_error_that_cannot_be_told_in_mmif_is_told_all_the_same(
    client: FlaskClient,
    captioner: SmolVLM2Captioner,
    broadcast: Broadcast,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no view today, says /etc/secret")

    with monkeypatch.context() as patched:
        for name in ("set_error_view", "record_error"):
            patched.setattr(captioner, name, broken)
        answer = client.post("/", data=swt_mmif(broadcast), query_string={"maxNewTokens": "many"})
    assert answer.status_code == 500
    assert answer.json == {
        "error": f"The server failed on this input. Its log says why, under the id {answer.headers['X-Call-Id']}."
    }
    (record,) = [record for record in caplog.records if record.name == "serving.front"]
    assert record.exc_info and "no view today" in str(record.exc_info[1])
    assert client.get("/calls").json == []


@pytest.mark.parametrize("priority", ["normal", "background"])
def test_the_background_holds_back_from_a_call_when_it_is_there_and_not_while_it_is_sent(
    client: FlaskClient,
    captioner: SmolVLM2Captioner,
    broadcast: Broadcast,
    monkeypatch: pytest.MonkeyPatch,
    priority: str,
) -> None:
    precedence, seen = captioner.engine.precedence, dict[str, bool]()
    annotate = captioner.annotate

    class Sent(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            seen["sent"] = precedence.others
            return super().readinto(buffer)

    def watched(*arguments: Any, **named: Any) -> str:
        seen["there"] = precedence.others
        return annotate(*arguments, **named)

    monkeypatch.setattr(captioner, "annotate", watched)
    body = swt_mmif(broadcast, labels=["slate"]).encode()
    sent = client.post("/", input_stream=Sent(body), content_length=len(body), headers={"X-Priority": priority})
    assert sent.status_code == 200
    assert seen == {"sent": False, "there": priority == "normal"}
    assert not precedence.others
