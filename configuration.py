"""Settings from flags and environment: one way to declare, read, check and document them."""

import argparse
import difflib
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import pydantic
from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CAPTIONER_"


class SettingsError(ValueError):
    """A setting has a value that can't be used. Seen by the operator, at start."""


class SettingRow(NamedTuple):
    """One setting as an operator sees it."""

    variable: str
    flag: str
    default: str
    help: str


class Settings(BaseSettings):
    """Base of the project's settings classes: frozen, read once, a flag winning over its environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    @classmethod
    def rows(cls) -> Iterator[SettingRow]:
        """Yield name, flag, default and description of every setting, in the order of declaration."""
        for name, field in cls.model_fields.items():
            default = "" if field.default in (None, ()) else str(field.default)
            yield SettingRow(_variable(name), _flag(cls, name), default, field.description or "")

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add a flag for every setting to ``parser``; values stay text until :meth:`read` checks them."""
        group = parser.add_argument_group(cls.__name__.removesuffix("Settings").lower())
        for name, row in zip(cls.model_fields, cls.rows(), strict=True):
            shown = f" [{row.variable}; default: {row.default or 'unset'}]"
            action = "append" if _separator(cls, name) else "store"
            help_text = _escaped(row.help + shown)
            group.add_argument(row.flag, dest=name, default=None, action=action, metavar="VALUE", help=help_text)

    @classmethod
    def export_flags(cls, flags: argparse.Namespace) -> None:
        """Write the flags that were given into the environment, from where all of the process reads its settings."""
        for name in cls.model_fields:
            if (value := getattr(flags, name, None)) is not None:
                os.environ[_variable(name)] = value if isinstance(value, str) else _separator(cls, name).join(value)

    @classmethod
    def read(cls) -> Self:
        """
        Read the settings from the environment.

        :raises SettingsError: naming every wrong variable, its flag, and what it accepts
        """
        try:
            return cls()
        except pydantic.ValidationError as error:
            raise SettingsError("\n".join(_complaints(cls, error))) from error


def refuse_unknown_variables(known: Iterable[type[Settings]]) -> None:
    """
    Refuse a ``CAPTIONER_`` variable that no setting reads: a misspelt limit is worse than a missing one.

    :raises SettingsError: naming each unknown variable and the nearest known one
    """
    names = [row.variable for settings in known for row in settings.rows()]
    complaints = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in names:
            near = difflib.get_close_matches(variable, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}."
            complaints.append(f"{variable} is not a setting of this app{hint}")
    if complaints:
        raise SettingsError("\n".join(complaints))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _flag(cls: type[Settings], name: str) -> str:
    extra: Any = cls.model_fields[name].json_schema_extra or {}
    return str(extra.get("flag", "--" + name.replace("_", "-")))


def _separator(cls: type[Settings], name: str) -> str:
    """What stands between the values of a setting that has several; its flag may be repeated."""
    extra: Any = cls.model_fields[name].json_schema_extra or {}
    return str(extra.get("separator", ""))


def split_at(separator: str) -> BeforeValidator:
    """Have a field of several values, which names the same ``separator``, take them from one text."""

    def split(value: Any) -> Any:
        return tuple(part for part in value.split(separator) if part) if isinstance(value, str) else value

    return BeforeValidator(split)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats help texts


def _complaints(cls: type[Settings], error: pydantic.ValidationError) -> Iterator[str]:
    for detail in error.errors():
        name = str(detail["loc"][0]) if detail["loc"] else ""
        if name not in cls.model_fields:
            yield detail["msg"]
            continue
        yield f"{_variable(name)} ({_flag(cls, name)}): {detail['msg']}; got {detail['input']!r}."
