"""
The form that captions are to have: JSON of a schema, or one of several choices.

A schema is given as JSON, or by the name of one in ``schemas/``, which brings with it the parameters that suit it, its
prompt above all. A caller's own go before them.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from engine.errors import PromptRefused
from engine.request import Completion
from sampling.schema import Schema, SchemaRefused

SCHEMAS = Path(__file__).parent / "schemas"
MOST_CHOICES = 100
MOST_CHARACTERS = 200  # of a choice

_JSON = "application/json"


@dataclass(frozen=True)
class Form:
    """
    What captions have to look like; by default, like nothing in particular.

    :param schema: of which they are JSON
    :param choices: of which they are one
    """

    schema: Schema | None = None
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, refined: Mapping[str, Any]) -> Self:
        """
        Take the form out of refined CLAMS parameters.

        :raises ValueError: naming the parameter, and the place in it that can't be used
        """
        choices = tuple(choice.strip() for choice in refined["outputChoices"])
        _check_choices(choices)
        if not refined["outputSchema"]:
            return cls(choices=choices)
        if choices:
            raise ValueError('Value for parameter "outputChoices" must be left out where "outputSchema" is given.')
        try:
            return cls(Schema.of(with_schema({"outputSchema": [refined["outputSchema"]]})["outputSchema"][0]))
        except SchemaRefused as error:
            # A schema that is an object of an envelope, and no string in it, the SDK takes apart before it gets here.
            hint = "" if refined["outputSchema"].lstrip()[:1] in "{[" else " In an envelope, give it as a string."
            raise ValueError(
                f'Value for parameter "outputSchema" must be one of {", ".join(shipped())}, or a JSON Schema that can '
                f"be enforced; got one that can't, {error}{hint}"
            ) from error

    @property
    def grammar(self) -> str:
        """What the engine is to follow, if anything."""
        return self.schema.grammar if self.schema else ""

    def mime(self, completion: Completion) -> str:
        """
        Return the media type of a completion: JSON's if it is whole and valid, none otherwise.

        :raises PromptRefused: if it is whole, but not of the form that was asked for
        """
        if self.schema is None or completion.finish_reason != "stop":
            return ""
        if not self.schema.accepts(completion.text):
            raise PromptRefused("The engine lost hold of outputSchema; a simpler schema may help.")
        return _JSON

    def cut(self, completion: Completion) -> str:
        """Say that a completion isn't whole JSON, where it should be; nothing otherwise."""
        if self.schema is None or completion.finish_reason == "stop":
            return ""
        why = "it goes in circles" if completion.finish_reason == "repetition" else "maxNewTokens was reached"
        return f"its JSON is incomplete, since {why}; its finishReason is {completion.finish_reason}."


def with_schema(given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """
    Put a shipped schema in the place of its name, and beside it the parameters that go with it and weren't given.

    :param given: parameters as a caller gives them, before they are refined
    """
    name = (given.get("outputSchema") or [""])[0]
    if name not in shipped():
        return dict(given)
    return {**_shipped(name), **given, "outputSchema": _shipped(name)["outputSchema"]}


@functools.cache
def shipped() -> tuple[str, ...]:
    """Return the names of the schemas that come with the app."""
    return tuple(sorted(path.stem for path in SCHEMAS.glob("*.yaml")))


@functools.cache
def _shipped(name: str) -> dict[str, list[str]]:
    read = yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text(encoding="utf-8"))
    return {parameter: [str(value).strip()] for parameter, value in read.items()}


def _check_choices(choices: tuple[str, ...]) -> None:
    wrong = ""
    if len(choices) == 1:
        wrong = "two texts or more; got one"
    elif len(choices) > MOST_CHOICES:
        wrong = f"up to {MOST_CHOICES} texts; got {len(choices)}"
    elif not all(choices):
        wrong = "texts; got an empty one"
    elif len(set(choices)) < len(choices):
        twin = next(choice for choice in choices if choices.count(choice) > 1)
        wrong = f'different texts; got "{twin}" twice'
    elif any(len(choice) > MOST_CHARACTERS or "\n" in choice for choice in choices):
        wrong = f"texts of one line and up to {MOST_CHARACTERS} characters; got {max(choices, key=len)!r}"
    if wrong:
        raise ValueError(f'Value for parameter "outputChoices" must be {wrong}.')
