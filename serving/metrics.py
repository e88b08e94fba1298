"""``/metrics``: what Prometheus collects."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from flask import Response
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from captioning.running import Priority, Reason, RunningCall
from captioning.warning import Cause
from engine.calls import Ending, PromptOutcome
from engine.engine import Engine, State
from engine.request import FinishReason
from sampling.video import ByteBudget
from serving.calls import Calls
from serving.tally import Outcome, Tally

# From a warm prompt of the demonstration model to a long caption behind a backfill.
PROMPT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_CONFIDENCES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
# From one prompt to the longest tape of an archive.
CALL_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)

REFUSALS = ("calls", "prompts", "bytes", "not_ready", "draining")  # the bounds of serving/admission.py, and states

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the counters to say when the server was started


class Metrics:
    """
    The metrics of one server: its own, its process's, and vLLM's.

    Its own are counted elsewhere (:class:`serving.tally.Tally`) or read off when they are asked for; only distributions
    are kept here.
    """

    def __init__(self, engine: Engine, budget: ByteBudget, calls: Calls, tally: Tally) -> None:
        self._engine = engine
        self._budget = budget
        self._calls = calls
        self._tally = tally
        self._own = CollectorRegistry()
        self._own.register(_Collector(self._collect))
        self._prompt_seconds = Histogram(
            "captioner_prompt_duration_seconds",
            "From a prompt's submission to its answer, its turns and preparation included",
            buckets=PROMPT_SECONDS,
            registry=self._own,
        )
        self._call_seconds = Histogram(
            "captioner_call_duration_seconds",
            "From a call's arrival to its answer",
            ["priority"],
            buckets=CALL_SECONDS,
            registry=self._own,
        )
        for priority in get_args(Priority):
            self._call_seconds.labels(priority)
        self._confidences = Histogram(
            "captioner_caption_confidence",
            "How sure the model was of captions whose callers asked for it, 0 to 1",
            buckets=_CONFIDENCES,
            registry=self._own,
        )

    def prompt_ended(self, ending: Ending) -> None:
        """Enter how long an answered prompt took, and how sure the model was."""
        if ending.completion is not None:
            self._prompt_seconds.observe(ending.seconds)
            if ending.completion.probability is not None:
                self._confidences.observe(ending.completion.probability)

    def call_ended(self, call: RunningCall) -> None:
        """Enter how long a call took."""
        self._call_seconds.labels(call.priority).observe(call.age)

    def response(self) -> Response:
        """
        Answer with all metrics.

        Always in Prometheus' plain text: its client library writes vLLM's ``vllm:`` as ``vllm_`` into OpenMetrics,
        which Prometheus asks for first, and no dashboard of anyone's would find them.
        """
        return Response(generate_latest(_Both(REGISTRY, self._own)), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _collect(self) -> Iterator[Metric]:
        engine = self._engine
        what = GaugeMetricFamily("captioner_info", "What runs", labels=("model", "revision"))
        what.add_metric((engine.model.id, engine.model.revision), 1)
        yield what
        state = engine.state
        states = {name: float(name == state) for name in get_args(State)}
        yield _gauge("captioner_engine_state", "1 for the state that the engine is in", "state", states)
        yield CounterMetricFamily("captioner_engine_deaths", "Ends of the engine that nobody asked for", engine.deaths)
        yield CounterMetricFamily("captioner_engine_restarts", "Times that it came back", engine.restarts)
        yield from self._in_flight()
        yield from self._counts()

    def _in_flight(self) -> Iterator[Metric]:
        engine, calls = self._engine, self._calls.snapshot()
        priorities = Counter(call.priority for call in calls)
        known = {name: priorities[name] for name in get_args(Priority)}
        yield _gauge("captioner_calls_in_flight", "Calls that are being worked on", "priority", known)
        outside = [call.stages for call in calls]
        stages = {
            "queued": sum(stages.queued for stages in outside),
            "reading": sum(stages.reading for stages in outside),
            "waiting": engine.waiting,
            "preparing": engine.preparing,
            "generating": engine.generating,
        }
        yield _gauge(
            "captioner_prompts_in_flight",
            "Prompts that are not done: not begun, their frames being read, waiting for their turn in the engine, "
            "being prepared, in the model",
            "stage",
            stages,
        )
        held = {"frames": self._budget.held, "prompts": engine.bytes_held}
        limits = {"frames": self._budget.limit, "prompts": engine.bytes_limit}
        yield _gauge("captioner_held_bytes", "Memory of what waits for the model", "of", held)
        yield _gauge("captioner_held_limit_bytes", "How much of it there may be", "of", limits)

    def _counts(self) -> Iterator[Metric]:
        tally = self._tally
        calls = CounterMetricFamily("captioner_calls", "Calls answered", labels=("outcome", "priority"))
        for outcome in Outcome:
            for priority in get_args(Priority):
                calls.add_metric((outcome, priority), tally.calls[outcome, priority])
        yield calls
        yield CounterMetricFamily("captioner_frames", "Frames read for prompts", tally.frames)
        prompts = {outcome: tally.prompts[outcome] for outcome in get_args(PromptOutcome)}
        yield _counter("captioner_prompts", "Prompts that left the engine", "outcome", prompts)
        finished = {reason: tally.captions[reason] for reason in get_args(FinishReason)}
        yield _counter("captioner_captions", "Captions made", "finish_reason", finished)
        tokens = {kind: tally.tokens[kind] for kind in ("prompt", "completion")}
        yield _counter("captioner_tokens", "Tokens read and written for them", "kind", tokens)
        warnings = {str(cause): tally.warnings[cause] for cause in Cause}
        yield _counter("captioner_warnings", "Warnings to callers", "cause", warnings)
        cancelled = {str(reason): tally.cancellations[reason] for reason in Reason}
        yield _counter("captioner_cancellations", "Calls cancelled", "reason", cancelled)
        refused = {bound: tally.refusals[bound] for bound in REFUSALS}
        yield _counter("captioner_refusals", "Calls that were not let in", "bound", refused)


class _Collector:
    """What the client library registers: asks a function."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering asks for names, and the engine is not there yet."""
        return ()


class _Both:
    """Two registries as one."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        for registry in self._registries:
            yield from registry.collect()


def _gauge(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=(label,))  # also what never was, so that its first time is a rise
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
