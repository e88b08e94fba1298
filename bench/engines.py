"""Engines for scenarios, started once and shared by all that want the same."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contenders import Contender, Remote

if TYPE_CHECKING:
    from app import SmolVLM2Captioner
    from bench.server import Server

DEFAULTS = {"model": "demo", "kv_cache_gib": "0.5"}
LOGS = Path("build/bench")


class Engines:
    """
    The app's engine in this process, servers, and contenders in processes of their own.

    Of the engine in this process there is one; changing its settings means a new one, which takes 20 s and more.
    """

    def __init__(self) -> None:
        self._remotes: dict[str, Remote] = {}
        self._servers: dict[str, tuple[Server, contextlib.ExitStack]] = {}
        self._settings: dict[str, str] = {}
        self._captioner: SmolVLM2Captioner | None = None

    def captioner(self, **settings: str) -> "SmolVLM2Captioner":
        """
        Return the app with a warm engine.

        :param settings: the app's settings by name (``model="demo"``, ``max_seqs="8"``), over the environment's
        """
        wanted = DEFAULTS | settings
        if self._captioner is not None and self._captioner.engine.is_ready and wanted == self._settings:
            return self._captioner
        self.close()
        before = dict(os.environ)
        os.environ |= {f"CAPTIONER_{name.upper()}": value for name, value in wanted.items()}
        try:
            from app import get_app

            self._captioner = get_app()
        finally:
            for name in [name for name in os.environ if name.startswith("CAPTIONER_")]:
                del os.environ[name]
            os.environ |= {name: value for name, value in before.items() if name.startswith("CAPTIONER_")}
        self._captioner.engine.start()
        self._settings = wanted
        return self._captioner

    def remote(self, make: type[Contender], **arguments: Any) -> Remote:
        """Return a contender in its process; see :mod:`bench.contenders`."""
        key = f"{make.__name__} {sorted(arguments.items())}"
        if key not in self._remotes:
            self._remotes[key] = Remote(make, **arguments)
        return self._remotes[key]

    def server(self, **settings: str) -> "Server":
        """
        Return a server that answers calls.

        :param settings: see :meth:`captioner`
        """
        from bench.server import serving

        key = str(sorted((DEFAULTS | settings).items()))
        if key in self._servers and not self._servers[key][0].is_ready:
            self._servers.pop(key)[1].close()
        if key not in self._servers:
            running = contextlib.ExitStack()
            LOGS.mkdir(parents=True, exist_ok=True)
            server = running.enter_context(serving(LOGS / f"server-{len(self._servers)}.log", **settings))
            self._servers[key] = (server, running)
        return self._servers[key][0]

    @contextlib.contextmanager
    def own_server(self, log: Path, *, quick: bool) -> Iterator["Server"]:
        """
        Run a server with the demonstration model that nobody else calls, until the block is left.

        :param log: file for its output
        :param quick: take the one that others have called, since a start takes 20 s
        """
        from bench.models import kv_cache_gib, model_folder
        from bench.server import serving

        if quick:
            folder = model_folder("demo")
            yield self.server(model=str(folder), kv_cache_gib=kv_cache_gib(folder))
            return
        with serving(log) as server:
            yield server

    def close_others(self) -> None:
        """End the contenders and servers, where a scenario needs their memory."""
        for remote in self._remotes.values():
            remote.close()
        for _, running in self._servers.values():
            running.close()
        self._remotes.clear()
        self._servers.clear()

    def close(self) -> None:
        """End all there is."""
        self.close_others()
        if self._captioner is not None:
            self._captioner.engine.close()
            self._captioner = None
