"""Engines for scenarios: one at a time, shared by all that want the same."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app import SmolVLM2Captioner

DEFAULTS = {"model": "demo", "kv_cache_gib": "0.5"}


class Engines:
    """The app's engine in this process. Changing its settings means a new engine, which takes 20 s and more."""

    def __init__(self) -> None:
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

    def close(self) -> None:
        """End the engine, if there is one."""
        if self._captioner is not None:
            self._captioner.engine.close()
            self._captioner = None
