"""What a call leaves in memory: no picture, and not even until Python's collector of cycles comes by."""

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from sampling.schema import Schema

CALLS: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "answered": (200, {"parallelPrompts": 4}, {}),
    "in turns": (200, {"promptMode": "user-only", "prompt": ["What is shown?", "In which colour?"]}, {}),
    "chosen": (200, {"outputChoices": ["slate", "chyron"]}, {}),
    "refused": (500, {"prompt": "What is <image>?", "parallelPrompts": 4}, {}),
    "too long": (500, {"contextOverflow": "skip", "prompt": "word " * 9000}, {}),
    "cut": (200, {"outputSchema": "slate", "maxNewTokens": 4, "captionConfidence": True}, {}),
    "out of time": (500, {"tfSamplingMode": "all", "maxImagesPerPrompt": 1}, {"X-Timeout-Seconds": "0.001"}),
}


@pytest.fixture
def pictures() -> Iterator[set[int]]:
    """The ids of the pictures in memory beforehand; what the test makes is not collected, but for what nobody knows."""
    gc.collect()
    gc.disable()
    try:
        yield set(map(id, _pictures()))
    finally:
        gc.enable()


def _pictures() -> list[Any]:
    return [thing for thing in gc.get_objects() if type(thing) is Image.Image]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_no_picture(client: FlaskClient, broadcast: Broadcast, pictures: set[int], name: str) -> None:
    status, parameters, headers = CALLS[name]
    answer = client.post("/", data=swt_mmif(broadcast), query_string=parameters, headers=headers)
    assert answer.status_code == status, answer.text[-2000:]
    check_that_none_is_left(pictures)


def test_a_caption_that_is_not_of_its_form_leaves_no_picture(
    client: FlaskClient, broadcast: Broadcast, pictures: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grammar sees to it that there are none: so it takes a check that says so of all."""
    monkeypatch.setattr(Schema, "accepts", lambda schema, text: False)
    answer = client.post("/", data=swt_mmif(broadcast), query_string={"outputSchema": "slate"})
    assert answer.status_code == 500
    assert "The engine lost hold of outputSchema" in answer.text
    check_that_none_is_left(pictures)


def check_that_none_is_left(pictures: set[int]) -> None:
    for _ in range(100):  # other threads may be on their way home
        left = [picture for picture in _pictures() if id(picture) not in pictures]
        if not left:
            return
        number = len(left)
        del left
        time.sleep(0.01)
    raise AssertionError(f"{number} pictures are still in memory")
