"""What can go wrong in the engine, by who gets to see it."""


class EngineError(Exception):
    """Base of all errors of the engine."""


class EngineStartError(EngineError):
    """The engine can't be built. Seen by the operator: the process ends with it."""


class EngineUnavailable(EngineError):
    """The engine takes no work now. Seen by the caller as "try again later"."""


class EngineDied(EngineUnavailable):
    """The engine went away under a prompt. Seen by the caller: nothing is wrong with the prompt."""


class PromptRefused(EngineError):
    """The engine can't answer this one prompt. Seen as a warning that names its TimeFrame."""
