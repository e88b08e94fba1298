"""
A plan: what a backfill asks of every file, pass by pass, from a YAML file.

::

    passes:
      - slate                     # a preset of captioning/presets
      - name: people              # one of them, changed
        preset: chyron
        maxNewTokens: 60
      - name: weather             # or all one's own
        tfLabels: [weather, forecast]
        prompt: What will the weather be like?

Values are taken as they are written, as the text that an HTTP caller would send, and are checked as the app checks
its callers'.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from clams.appmetadata import RuntimeParameter

PRESETS = Path(__file__).parent.parent / "captioning" / "presets"

Given = dict[str, list[str]]  # parameters as a caller gives them: texts, several of a multivalued one
Check = Callable[[Given], Mapping[str, Any]]  # refines parameters; ValueError if one can't be used

_FOR_ALL = frozenset({"pretty"})  # an output has one layout


class PlanError(ValueError):
    """A plan can't be used. Seen by the operator: all its mistakes, a line for each, with file and line number."""


@dataclass(frozen=True)
class Pass:
    """
    One round of prompts over a file.

    :param parameters: as they were given, those that were not left out
    :param refined: all of them, checked, with their types
    """

    name: str
    parameters: Given
    refined: Mapping[str, Any]


def read_plan(path: Path, options: Given, known: Mapping[str, RuntimeParameter], check: Check) -> tuple[Pass, ...]:
    """
    Read a plan.

    :param options: parameters for the passes that say nothing else
    :param known: the app's parameters, by name
    :raises PlanError: if it can't be read or used
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: the plan can't be read: {error}") from error
    return _Reader(str(path), options, known, check).read(text)


def single_pass(options: Given, check: Check) -> tuple[Pass, ...]:
    """
    Make the plan of one pass that options on the command line are.

    :raises PlanError: if an option can't be used
    """
    try:
        return (Pass("captions", options, check(options)),)
    except ValueError as error:
        raise PlanError(str(error)) from error


@dataclass(frozen=True)
class _Value:
    """What is given for a parameter, and where."""

    texts: list[str]
    line: int
    file: str


class _Reader:
    """Reads one plan and collects its mistakes."""

    def __init__(self, file: str, options: Given, known: Mapping[str, RuntimeParameter], check: Check) -> None:
        self._file = file
        self._options = options
        self._known = known
        self._check = check
        self._mistakes: list[tuple[str, int, str]] = []

    def read(self, text: str) -> tuple[Pass, ...]:
        root = self._compose(text, self._file)
        found = [self._pass(node) for node in self._passes_of(root)]
        passes = [numbered for numbered in found if numbered is not None]
        names: dict[str, int] = {}
        for made, line in passes:
            if made.name in names:
                self._mistake(line, f'another pass is called "{made.name}", in line {names[made.name]}.')
            names.setdefault(made.name, line)
        if self._mistakes:
            raise PlanError("\n".join(f"{file}:{line}: {said}" for file, line, said in self._mistakes))
        return tuple(made for made, _ in passes)

    def _mistake(self, where: yaml.Node | int, said: str, file: str = "") -> None:
        line = where if isinstance(where, int) else _line(where)
        self._mistakes.append((file or self._file, line, said))

    def _compose(self, text: str, file: str) -> yaml.Node | None:
        loader = yaml.SafeLoader(text)
        try:
            return loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = " ".join(part for part in (error.context, error.problem) if part)
            self._mistake(mark.line + 1 if mark else 1, f"this is not YAML: {said}.", file)
        except yaml.YAMLError as error:
            self._mistake(1, f"this is not YAML: {error}", file)
        finally:
            loader.dispose()
        return None

    def _passes_of(self, root: yaml.Node | None) -> Sequence[yaml.Node]:
        if root is None:
            if not self._mistakes:
                self._mistake(1, "the plan is empty; it needs a list of passes.")
            return []
        found: yaml.Node | None = None
        for key, value in self._entries(root, "a plan", self._file):
            if key.value == "passes":
                found = value
            else:
                self._mistake(key, f'a plan has "passes" and nothing else; got "{key.value}".')
        if isinstance(found, yaml.SequenceNode) and found.value:
            return list(found.value)
        if isinstance(root, yaml.MappingNode):
            self._mistake(found or root, '"passes" must be a list with at least one pass.')
        return []

    def _entries(self, node: yaml.Node, what: str, file: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Yield keys and values of a mapping, what it takes from others by ``<<`` before its own."""
        if not isinstance(node, yaml.MappingNode):
            self._mistake(node, f"{what} must be a mapping, name: value.", file)
            return
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self._mistake(key, f'"{key.value}" stands here twice, first in line {seen[key.value]}.', file)
                seen.setdefault(key.value, _line(key))
        try:
            yaml.SafeLoader("").flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            self._mistake(node, f"{error.problem}.", file)
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key, value
            else:
                self._mistake(key, f"a name in {what} must be a text.", file)

    def _pass(self, node: yaml.Node) -> tuple[Pass, int] | None:
        name, values, mistakes = "", dict[str, _Value](), len(self._mistakes)
        if isinstance(node, yaml.ScalarNode):
            name, values = node.value, self._preset(node)
        else:
            own: dict[str, _Value] = {}
            for key, value in self._entries(node, "a pass", self._file):
                if key.value == "name":
                    name = self._text(value, "the name of a pass")
                elif key.value == "preset":
                    values = self._preset(value)
                    name = name or (value.value if isinstance(value, yaml.ScalarNode) else "")
                else:
                    self._take(own, key, value, self._file)
            values |= own
        if len(self._mistakes) > mistakes:
            return None
        if not name:
            self._mistake(node, 'this pass has no name; add one, as in "name: slates".')
            return None
        refined = self._refined(node, name, values)
        return None if refined is None else (refined, _line(node))

    def _refined(self, node: yaml.Node, name: str, values: dict[str, _Value]) -> Pass | None:
        said = self._options | {parameter: value.texts for parameter, value in values.items()}
        # A caller over HTTP can't say an empty list, and where that is the default needn't.
        given = {parameter: texts for parameter, texts in said.items() if texts or self._known[parameter].default != []}
        try:
            return Pass(name, given, self._check(given))
        except ValueError as error:
            complaint = f'pass "{name}": {error}'
            named = (values[found] for found in re.findall(r'parameter "(\w+)"', str(error)) if found in values)
            place = next(named, None)
            self._mistake(place.line if place else _line(node), complaint, place.file if place else "")
            return None

    def _preset(self, node: yaml.Node) -> dict[str, _Value]:
        wanted = self._text(node, "a preset")
        names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
        if wanted not in names:
            if wanted:
                hint = _nearest(wanted, names)
                self._mistake(node, f'there is no preset "{wanted}"{hint or "; there are " + ", ".join(names)}.')
            return {}
        file = PRESETS / f"{wanted}.yaml"
        root = self._compose(file.read_text(encoding="utf-8"), str(file))
        values: dict[str, _Value] = {}
        for key, value in self._entries(root, "a preset", str(file)) if root else ():
            self._take(values, key, value, str(file))
        return values

    def _take(self, values: dict[str, _Value], key: yaml.ScalarNode, node: yaml.Node, file: str) -> None:
        if key.value not in self._known:
            hint = _nearest(key.value, self._known.keys())
            self._mistake(key, f'the app has no parameter "{key.value}"{hint or "; see metadata.py for all of them"}.')
        elif key.value in _FOR_ALL:
            self._mistake(key, f'"{key.value}" holds for a whole output; give it as an option, --{key.value}.', file)
        else:
            values[key.value] = _Value(self._texts(self._known[key.value], node, file), _line(node), file)

    def _texts(self, parameter: RuntimeParameter, node: yaml.Node, file: str) -> list[str]:
        if not isinstance(node, yaml.SequenceNode):
            return [self._text(node, f'the value of "{parameter.name}"', file, parameter.type == "boolean")]
        if not parameter.multivalued:
            self._mistake(node, f'"{parameter.name}" takes one value, not a list.', file)
        return [self._text(item, f'a value of "{parameter.name}"', file) for item in node.value]

    def _text(self, node: yaml.Node, what: str, file: str = "", boolean: bool = False) -> str:
        """Return a scalar as it is written; of a boolean, YAML has more spellings than the app."""
        if not isinstance(node, yaml.ScalarNode):
            self._mistake(node, f"{what} must be a text or a number, not a collection.", file)
            return ""
        if node.tag == "tag:yaml.org,2002:null":
            self._mistake(node, f'{what} is missing; write "" for an empty text.', file)
        if boolean and node.tag != "tag:yaml.org,2002:bool":
            self._mistake(node, f'{what} must be true or false; got "{node.value}".', file)
        elif boolean:
            return str(yaml.SafeLoader.bool_values[node.value.lower()]).lower()
        return str(node.value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
