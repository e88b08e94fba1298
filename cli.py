#!/usr/bin/env python3
"""
The side door: one MMIF in, one MMIF out.

The CLAMS tools look for this file by its name, and for a parameter of the app they expect an option of that name.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import jsonschema
from clams.app import falsy_values
from clams.appmetadata import AppMetadata
from clams.envelop import EnvelopeError

import app
from archive.output import atomic
from captioning.settings import CaptioningSettings
from configuration import SettingsError, refuse_unknown_variables
from engine.settings import EngineSettings

STANDARD = "-"
_SETTINGS = (EngineSettings, CaptioningSettings)


def metadata_to_argparser(app_metadata: AppMetadata) -> argparse.ArgumentParser:
    """
    Make the parser of the app's parameters and of the engine's settings.

    :param app_metadata: metadata of the app, with the universal parameters
    """
    parser = argparse.ArgumentParser(description=f"{app_metadata.name}: {app_metadata.description}")
    add_parameters(parser, app_metadata)
    for settings in _SETTINGS:
        settings.add_flags(parser)
    parser.add_argument("IN_MMIF_FILE", nargs="?", help="input MMIF file, or standard input if `-` or not given")
    parser.add_argument(
        "OUT_MMIF_FILE", nargs="?", default=STANDARD, help="output MMIF file, or standard output if `-` or not given"
    )
    return parser


def add_parameters(parser: argparse.ArgumentParser, app_metadata: AppMetadata) -> None:
    """Add an option for every parameter of the app to ``parser``."""
    group = parser.add_argument_group("parameters of the app")
    for parameter in app_metadata.parameters:
        text = parameter.description
        if parameter.default is not None:
            text += f" (default: {parameter.default or repr(parameter.default)}"
            if parameter.type == "boolean":
                text += f", any value except for {[v for v in falsy_values if isinstance(v, str)]} means true"
            text += ")"
        group.add_argument(
            f"--{parameter.name}",
            help=text.replace("%", "%%"),
            nargs="+" if parameter.multivalued else 1,
            action="extend" if parameter.multivalued else "store",
            choices=None if parameter.type == "boolean" else parameter.choices,
        )


def given_parameters(parsed: argparse.Namespace, app_metadata: AppMetadata) -> dict[str, list[str]]:
    """Return the parameters of the app that stand on a command line, as the SDK takes them."""
    return {p.name: value for p in app_metadata.parameters if (value := getattr(parsed, p.name)) is not None}


def main(arguments: list[str] | None = None) -> int:
    """
    Caption one MMIF.

    :param arguments: the command line without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code: 0 for a captioned MMIF, 1 if the input can't be used or the call failed (the output then
        has a view with the error), 2 for a wrong command line or setting
    """
    try:
        known = app.get_app().metadata
        parser = metadata_to_argparser(known)
        parsed = parser.parse_args(arguments)
        for settings in _SETTINGS:
            settings.export_flags(parsed)
        refuse_unknown_variables(app.SETTINGS)
        captioner = app.get_app()
    except SettingsError as error:
        return _complain(str(error), 2)
    if parsed.IN_MMIF_FILE is None and sys.stdin.isatty():
        parser.print_help()
        return 1
    parameters = given_parameters(parsed, known)
    try:
        given = _read(parsed.IN_MMIF_FILE)
        with _output(parsed.OUT_MMIF_FILE) as out:
            try:
                out.write(captioner.annotate(given, **parameters))
                return 0
            except (jsonschema.ValidationError, json.JSONDecodeError, EnvelopeError):
                raise
            except Exception as error:
                print(f"cli.py: {error}", file=sys.stderr)
                out.write(captioner.record_error(given, **parameters).serialize(pretty=True))
                return 1
            finally:
                captioner.engine.close()
    except jsonschema.ValidationError as error:
        return _complain(f"Invalid input data. See below for validation error.\n\n{error.message}", 1)
    except (json.JSONDecodeError, EnvelopeError) as error:
        return _complain(f"Invalid input data. See below for validation error.\n\n{error}", 1)
    except (OSError, UnicodeDecodeError) as error:
        return _complain(str(error), 1)


def _complain(message: str, code: int) -> int:
    print(f"cli.py: {message}", file=sys.stderr)
    return code


def _read(name: str | None) -> str:
    return sys.stdin.read() if name in (None, STANDARD) else Path(str(name)).read_text(encoding="utf-8")


@contextlib.contextmanager
def _output(name: str) -> Iterator[TextIO]:
    """Open the output so that a file appears only when it is whole, and standard output carries nothing but MMIF."""
    if name == STANDARD:
        # Whatever a library or a child process prints goes to standard error; by descriptor, since children inherit it.
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
            os.dup2(2, 1)
            yield out
        return
    target = Path(name)
    if target.exists() and not target.is_file():  # a device or a pipe
        with target.open("w", encoding="utf-8") as out:
            yield out
        return
    with atomic(target) as out:
        yield out


if __name__ == "__main__":
    sys.exit(main())
