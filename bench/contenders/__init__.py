"""
What is measured against each other: this app, vLLM as it comes, transformers as the incumbent uses it.

Each lives in a process of its own, loaded once and asleep while another is measured, so that they can take turns.
"""

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from bench.workloads import FOLDER, Workload
from engine.orphans import Family


@dataclass(frozen=True)
class Spent:
    """
    What a round took.

    :param seconds: from all prompts' frames in hand to the last caption, unless the contender says otherwise
    :param images: tiles are not counted
    :param prompt_tokens: frames' tokens included
    :param texts: in the order of the prompts; empty where a contender does not give them in order
    :param cached_tokens: those of ``prompt_tokens`` that did not have to be computed, where the contender knows
    """

    seconds: float
    captions: int
    images: int
    prompt_tokens: int
    completion_tokens: int
    texts: tuple[str, ...] = ()
    cached_tokens: int = 0


class Contender(Protocol):
    """What captions a workload, in its own process. Made with keyword arguments; its start may take its time."""

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """Caption all prompts, ``at_once`` of them at a time where that means anything."""

    def close(self) -> None:
        """End what it started."""


class ContenderFailed(RuntimeError):
    """A contender ended or raised; seen by whoever runs the benchmark."""


class Remote:
    """
    A contender in a process of its own, which ends with this one, in mid-round if need be.

    :param make: the class, importable by name
    :param environment: variables of its process
    :param arguments: for it
    """

    def __init__(self, make: type[Contender], environment: Mapping[str, str] | None = None, **arguments: Any) -> None:
        self.name = make.__name__
        self._family = Family()
        self._ours, theirs = multiprocessing.Pipe()
        # Not a fork: torch and vLLM have to come up by themselves.
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, make, arguments), name=self.name
        )
        with _environment(environment or {}), self._family.mark():
            self._process.start()
        theirs.close()
        self._answer()

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """See :meth:`Contender.caption`."""
        spent: Spent = self("caption", workload, at_once)
        return spent

    def __call__(self, method: str, *arguments: Any) -> Any:
        """
        Call a method of the contender in its process.

        :raises ContenderFailed: if it raises, or its process ends
        """
        self._ours.send((method, arguments))
        return self._answer()

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._process.is_alive():
            try:
                self._ours.send(None)
                self._process.join(60)
            except OSError:
                pass
            self._process.kill()
        self._process.join()
        self._family.close()  # with what it left behind

    def _answer(self) -> Any:
        try:
            fine, answer = self._ours.recv()
        except EOFError:
            self._process.join(10)
            raise ContenderFailed(f"{self.name}'s process ended with {self._process.exitcode}.") from None
        if not fine:
            raise ContenderFailed(f"{self.name}: {answer}")
        return answer


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, make: type[Contender], arguments: dict[str, Any]) -> None:
    # What models, engines and servers have to say would run through the progress bar and the tables.
    log = FOLDER / f"{make.__name__.lower()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        contender = make(**arguments)
    except Exception as error:
        traceback.print_exc()
        connection.send((False, f"did not start: {type(error).__name__}: {error}; see {log}"))
        return
    connection.send((True, None))
    _answer_calls(connection, contender)


def _answer_calls(connection: Connection, contender: Contender) -> None:
    try:
        while call := connection.recv():
            method, given = call
            try:
                connection.send((True, getattr(contender, method)(*given)))
            except Exception as error:
                traceback.print_exc()
                connection.send((False, f"{method}: {type(error).__name__}: {error}"))
    except EOFError:
        pass  # whoever asked is gone
    finally:
        contender.close()
