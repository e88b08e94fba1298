"""Who may do what, over HTTP and before any engine runs."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import SmolVLM2Captioner
from configuration import SettingsError
from serving.front import Service, restified
from serving.settings import ServingSettings

RIGHT = {"Authorization": "Bearer open sesame"}


def client(**settings: Any) -> FlaskClient:
    app = SmolVLM2Captioner()
    return restified(app, Service.of(app, ServingSettings(**settings))).test_client()


def status(of: FlaskClient, method: str, path: str, headers: dict[str, str]) -> int:
    return of.open(path, method=method, headers=headers).status_code


@pytest.mark.parametrize("reading", [False, True])
def test_what_the_token_opens(reading: bool) -> None:
    guarded = client(token="open sesame", token_for_reading=reading)
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer open"},
        {"Authorization": "Bearer open sesame seed"},
        {"Authorization": "Basic open sesame"},
        {"Authorization": "open sesame"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ope\u00f1"},
    ]
    # 503: the engine isn't there; whoever sees that was let in.
    for method, path, inside in (("POST", "/", 503), ("PUT", "/", 503), ("DELETE", "/calls/x", 404)):
        assert [status(guarded, method, path, headers) for headers in wrong] == [401] * len(wrong)
        assert status(guarded, method, path, RIGHT) == inside
        assert status(guarded, method, path, {"Authorization": "bearer open sesame"}) == inside
    for path in ("/", "/calls"):
        assert status(guarded, "GET", path, {}) == (401 if reading else 200)
        assert status(guarded, "GET", path, RIGHT) == 200
    assert status(guarded, "GET", "/health/live", {}) == 200
    assert status(guarded, "GET", "/health/ready", {}) == 503


def test_the_refusal_says_what_is_missing() -> None:
    refused = client(token="open sesame").post("/", data="{}")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json is not None
    assert "Authorization: Bearer" in refused.json["error"]
    assert "sesame" not in refused.text


def test_without_a_token_everything_is_open() -> None:
    assert status(client(), "POST", "/", {}) == 503


def test_the_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    guarded = client(token_file=tmp_path / "token")
    assert status(guarded, "POST", "/", {}) == 401
    assert status(guarded, "POST", "/", RIGHT) == 503


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TOKEN_FILE": "/nowhere/token"}, "CAPTIONER_TOKEN_FILE can't be read: .*/nowhere/token"),
        ({"TOKEN_FILE": "/dev/null"}, "CAPTIONER_TOKEN_FILE is empty"),
        ({"TOKEN_FILE": "/dev/null", "TOKEN": "x"}, "not both"),
        ({"TOKEN_FOR_READING": "true"}, "needs CAPTIONER_TOKEN or CAPTIONER_TOKEN_FILE"),
    ],
)
def test_tokens_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv("CAPTIONER_" + name, value)
    with pytest.raises(SettingsError, match=message):
        ServingSettings.read()
