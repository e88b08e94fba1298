"""``/metrics``, ``/status`` and ``/status.json``: what the server does, for programs and for people."""

import base64
import hashlib
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from flask import Flask, Response, jsonify

from captioning.running import RunningCall
from engine.calls import Ending
from engine.engine import Engine
from engine.hardware import gpus, memory_held
from sampling.video import ByteBudget
from serving.calls import Calls
from serving.history import POINTS, SECONDS, History, Sample
from serving.metrics import Metrics
from serving.tally import Noted, Outcome, Tally

_PAGES = Path(__file__).parent / "pages"


class Watch:
    """
    Counts what one server does, and shows it.

    :param engine: is told to report here
    :param budget: of decoded frames
    :param calls: those in flight
    :param state: returns the server's state; the engine's, or another one that is over it
    :param version: of the app
    :param look: is called every few seconds, with each sample of the history
    """

    def __init__(
        self,
        engine: Engine,
        budget: ByteBudget,
        calls: Calls,
        state: Callable[[], str],
        version: str,
        look: Callable[[], None],
    ) -> None:
        self.tally = Tally()
        self.metrics = Metrics(engine, budget, calls, self.tally)
        self.history = History(self._sample)
        self._engine = engine
        self._budget = budget
        self.calls = calls
        self._state = state
        self._version = version
        self._look = look
        self._began = time.monotonic()
        self._gpus: list[dict[str, Any]] = []
        engine.on_prompt = self._prompt_ended

    def call_ended(self, call: RunningCall, status: int) -> None:
        """
        Count a call that has been answered.

        :param status: of the answer, in HTTP
        """
        self.tally.call_ended(call, _outcome(call, status))
        self.metrics.call_ended(call)

    def status(self, *, may_cancel: bool) -> dict[str, Any]:
        """Return what the page shows; it says nothing of prompts and captions."""
        engine, tally = self._engine, self.tally
        return {
            "state": self._state(),
            "model": engine.model.record,
            "version": self._version,
            "uptime": round(time.monotonic() - self._began, 1),
            "may_cancel": may_cancel,
            "engine": {
                "waiting": engine.waiting,
                "preparing": engine.preparing,
                "generating": engine.generating,
                "kv_cache": round(engine.kv_cache_usage, 4),
                "restarts": engine.restarts,
            },
            "memory": [
                {"of": "Decoded frames", "held": self._budget.held, "limit": self._budget.limit},
                {"of": "Prepared prompts", "held": engine.bytes_held, "limit": engine.bytes_limit},
            ],
            "gpus": self._gpus,
            "totals": {
                "calls": sum(tally.calls.values()),
                "captions": sum(tally.captions.values()),
                "refused": sum(tally.refusals.values()),
            },
            "calls": self.calls.described(),
            "history": {"seconds": SECONDS, "points": POINTS, **self.history.series()},
            "warnings": [_noted(warning) for warning in reversed(tally.recent_warnings.copy())],
        }

    def _prompt_ended(self, ending: Ending) -> None:
        self.tally.prompt_ended(ending)
        self.metrics.prompt_ended(ending)

    def _sample(self) -> Sample:
        self._look()
        engine = self._engine
        self._gpus = _held_gpus(engine)
        used = [1 - gpu["free"] / gpu["total"] for gpu in self._gpus]
        waiting = sum(call.total - call.done for call in self.calls.snapshot()) - engine.generating
        return Sample(
            sum(self.tally.captions.values()), max(0, waiting), engine.kv_cache_usage, max(used) if used else None
        )


def add_pages(flask_app: Flask, watch: Watch, may_cancel: Callable[[], bool] = lambda: False) -> None:
    """
    Add the endpoints.

    :param may_cancel: whether whoever sent the present request may cancel calls
    """

    @flask_app.get("/metrics")
    def metrics() -> Response:
        return watch.metrics.response()

    @flask_app.get("/status")
    def status() -> Response:
        html, policy = page()
        return Response(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})

    @flask_app.get("/status.json")
    def status_json() -> Response:
        response = jsonify(watch.status(may_cancel=may_cancel()))
        response.headers["Cache-Control"] = "no-store"
        return response


@cache
def page() -> tuple[str, str]:
    """Return the page, whole and the same for everyone, and the policy that lets it do what it does and no more."""
    style, script = ((_PAGES / f"status.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    template = jinja2.Template((_PAGES / "status.html").read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined)
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return template.render(style=style, script=script), policy


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _outcome(call: RunningCall, status: int) -> Outcome:
    if status == 200:
        return Outcome.DEADLINE if call.reason else Outcome.CAPTIONED
    return Outcome.CANCELLED if call.reason else Outcome.FAILED


def _noted(warning: Noted) -> dict[str, Any]:
    return warning.__dict__ | {"time_frames": list(warning.time_frames)}


def _held_gpus(engine: Engine) -> list[dict[str, Any]]:
    held = memory_held(engine.pids)
    return [
        {"name": gpu.name, "total": gpu.total, "free": gpu.free, "held": held.get(gpu.uuid, 0)}
        for gpu in gpus()
        if gpu.total and (gpu.uuid in held or len(held) == 0)
    ]
