"""What the server has done since its start."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum

from captioning.running import Priority, Reason, RunningCall
from captioning.warning import Cause
from engine.calls import Ending

RECENT_WARNINGS = 50
_TIME_FRAMES_NAMED = 8  # in one warning


class Outcome(StrEnum):
    """What a call has come to."""

    CAPTIONED = "captioned"  # also with warnings
    DEADLINE = "deadline"  # what was done by then was returned
    CANCELLED = "cancelled"
    FAILED = "failed"  # or its input could not be used


@dataclass(frozen=True)
class Noted:
    """
    A warning that a caller got, without its words: they may quote what was asked.

    :param time: since the epoch, in s
    :param call: id of the call
    :param time_frames: ids of the TimeFrames that it is about, or of the first of them
    :param more: how many further ones
    """

    time: float
    call: str
    cause: Cause
    time_frames: tuple[str, ...]
    more: int


class Tally:
    """
    Counts, written by whoever does what is counted, on any thread, and read by whoever watches.

    :ivar frames: that were read for prompts which have ended
    """

    def __init__(self) -> None:
        self.calls: Counter[tuple[Outcome, Priority]] = Counter()
        self.cancellations: Counter[Reason] = Counter()
        self.prompts: Counter[str] = Counter()  # by outcome
        self.captions: Counter[str] = Counter()  # by finish reason
        self.tokens: Counter[str] = Counter()  # "prompt" and "completion"
        self.warnings: Counter[Cause] = Counter()
        self.refusals: Counter[str] = Counter()  # by bound
        self.frames = 0
        self.recent_warnings: deque[Noted] = deque(maxlen=RECENT_WARNINGS)
        self._lock = threading.Lock()

    def prompt_ended(self, ending: Ending) -> None:
        """Count a prompt that has left the engine."""
        with self._lock:
            self.prompts[ending.outcome] += 1
            self.frames += ending.frames
            if (completion := ending.completion) is not None:
                self.captions[completion.finish_reason] += 1
                self.tokens["prompt"] += completion.prompt_tokens
                self.tokens["completion"] += completion.completion_tokens

    def call_ended(self, call: RunningCall, outcome: Outcome) -> None:
        """Count a call that has been answered, and what its caller was warned of."""
        now = time.time()
        with self._lock:
            self.calls[outcome, call.priority] += 1
            if call.reason is not None:
                self.cancellations[call.reason] += 1
            for warning in call.told:
                self.warnings[warning.cause] += 1
                named = warning.time_frames[:_TIME_FRAMES_NAMED]
                more = len(warning.time_frames) - len(named)
                self.recent_warnings.append(Noted(now, call.id, warning.cause, named, more))

    def refused(self, bound: str) -> None:
        """Count a call that was not let in."""
        with self._lock:
            self.refusals[bound] += 1
