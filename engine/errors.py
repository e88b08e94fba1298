"""What can go wrong in the engine, by who gets to see it."""

from typing import Self


class EngineError(Exception):
    """Base of all errors of the engine."""


class EngineStartError(EngineError):
    """The engine can't be built. Seen by the operator: the process ends with it."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Say what went wrong at the start, and what to do about weights that aren't there."""
        if isinstance(error, FileNotFoundError):
            return cls(
                f"{error}. Set CAPTIONER_MODEL (--model-path) to a folder that holds the checkpoint, or try the app "
                "with its embedded demonstration model: CAPTIONER_MODEL=demo."
            )
        return cls(f"The engine did not start: {type(error).__name__}: {error}")


class EngineUnavailable(EngineError):
    """The engine takes no work now. Seen by the caller as "try again later"."""


class EngineDied(EngineUnavailable):
    """The engine went away under a prompt. Seen by the caller: nothing is wrong with the prompt."""


class PromptRefused(EngineError):
    """The engine can't answer this one prompt. Seen as a warning that names its TimeFrame."""
