"""Malformed requests against one server, and what it made of them."""

import threading
from collections import Counter
from pathlib import Path

import requests

from bench.calls import slate
from bench.fuzzing.cases import Case, Ground, case
from bench.fuzzing.junk import odd_locations
from bench.fuzzing.sending import Answer, complaint, send


class Attack:
    """
    Sends cases by their numbers, on any thread.

    :param url: of the server
    :param folder: for a video, and files that are none
    """

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.answers: Counter[tuple[str, int]] = Counter()  # by kind of case, and status
        self._port = int(url.rpartition(":")[2])
        self._seed = seed
        self._valid = slate(folder)
        described = requests.get(url + "/", timeout=60).json()["parameters"]
        defaults = {one["name"]: one.get("default", "") for one in described}
        usual = {
            name: str(value[0] if isinstance(value, list) and value else value) for name, value in defaults.items()
        }
        self._ground = Ground(self._valid.mmif, usual, odd_locations(folder, self._valid.video))
        self._lock = threading.Lock()

    def send(self, number: int) -> None:
        """Send a case, and look at its answer."""
        made = case(self._seed, number, self._ground)
        answer = send(made, self._port)
        wrong = complaint(made, answer)
        with self._lock:
            self.answers[made.kind, answer.status] += 1
            if wrong:
                self.complaints.append(_worded(made, answer, wrong))

    def check_health(self) -> None:
        """See that the server is ready, and captions as it should."""
        try:
            ready = requests.get(self.url + "/health/ready", timeout=60)
            assert ready.status_code == 200, f"not ready any more: {ready.text}"
            self._valid.make(self.url)
        except (AssertionError, requests.RequestException) as error:
            with self._lock:
                self.complaints.append(f"between cases: {error}")


def _worded(made: Case, answer: Answer, wrong: str) -> str:
    request, body = made.request[:1500], answer.body[-500:]
    return f"{made.number} ({made.kind}): {wrong}\n  request: {request!r}\n  answer: {body!r}"
