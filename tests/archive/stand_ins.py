"""Apps for workers of a cluster that meet with what no real file brings about. Importable by a worker."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from captioning.passes import Annotated
from engine.errors import EngineStartError


class StandIn:
    """Answers every file with itself, but for what its text asks: the worker's death, or to wait for a gate."""

    def __init__(self) -> None:
        self.engine: Any = SimpleNamespace(start=lambda: None, close=lambda: None, in_flight=0, waiting=0)

    def check_resolution(self, framing: Any) -> None:
        """Any will do."""

    def annotate_passes(self, mmif: str, asked: Any, **options: Any) -> Annotated:
        if "deadly" in mmif:
            os.kill(os.getpid(), signal.SIGKILL)
        gate = Path(os.environ["GATE"])
        while not gate.exists():
            time.sleep(0.01)
        return Annotated(mmif, {})


class NoEngine(StandIn):
    """Its engine does not start."""

    def __init__(self) -> None:
        super().__init__()
        self.engine.start = self._fail

    def _fail(self) -> None:
        raise EngineStartError("The model does not fit.")
