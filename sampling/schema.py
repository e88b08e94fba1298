"""
A JSON Schema that a reply is held to while it is said.

What the engine's grammars (llguidance's) enforce is a part of JSON Schema, and what is enforced exactly, in a time that
can be foretold, is a smaller part. That part is listed here. Whatever else a schema says is refused with its place, not
passed over: a caller who reads "valid" has to be able to rely on it.

Two things are narrower than the schema says, so that whatever comes out is valid all the same: properties stand in the
schema's order, and an object has no others than it names.
"""

import functools
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from sampling.pattern import PatternRefused, enforceable, parts_of
from sampling.references import find, without_references

MOST_CHARACTERS = 20_000  # of a schema's text
MOST_LEVELS = 10  # of objects and arrays within one another
MOST_PLACES = 1_000  # that a reply may have for values, each item of an array counted
MOST_LENGTH = 2_000  # characters of a string
# Strings among alternatives, wherever in them, and parts of their patterns if there are several: the engine follows all
# at once, and loses hold of 30 beside a pattern of 100 parts, and of 5 patterns of 60 each.
MOST_STRINGS_BESIDE = 20
MOST_PARTS_BESIDE = 100
MOST_OPTIONAL = 400  # properties that may be left out; any of them may come next, and the engine gives up at 500
MOST_NUMBER = 2**53  # beyond, not every reader of JSON reads the same number
FORMATS = ("date", "date-time", "time")

_LAST_CHARACTER = "\U0003ffff"  # SmolLM2's tokenizer has not all bytes, and lacks those that begin what comes after

_NOTES = frozenset(
    {"title", "description", "default", "examples", "$comment", "$schema", "$id", "$defs", "definitions"}
)
_NUMBERS = frozenset({"integer", "number"})
# Each keyword with the types that it is about.
_KEYWORDS = {
    "minLength": frozenset({"string"}),
    "maxLength": frozenset({"string"}),
    "pattern": frozenset({"string"}),
    "format": frozenset({"string"}),
    "minimum": _NUMBERS,
    "maximum": _NUMBERS,
    "exclusiveMinimum": _NUMBERS,
    "exclusiveMaximum": _NUMBERS,
    "items": frozenset({"array"}),
    "prefixItems": frozenset({"array"}),
    "minItems": frozenset({"array"}),
    "maxItems": frozenset({"array"}),
    "properties": frozenset({"object"}),
    "required": frozenset({"object"}),
    "additionalProperties": frozenset({"object"}),
}
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_SAYING = ("$ref", "anyOf", "const", "enum", "type")  # one of these has to say what there is


class SchemaRefused(ValueError):
    """
    The schema can't be enforced.

    :param place: JSON Pointer to what is refused, in the schema
    :param reason: why, and what to do
    """

    def __init__(self, place: Sequence[str], reason: str) -> None:
        self.place = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in place)
        self.reason = reason
        super().__init__(f"at {self.place or 'its root'}: {reason}")


@dataclass(frozen=True)
class Schema:
    """
    A JSON Schema (2020-12) that can be enforced.

    :param text: as JSON
    :param grammar: what the engine takes, in llguidance's Lark
    """

    text: str
    grammar: str

    @staticmethod
    def of(text: str) -> "Schema":
        """
        Read and check a schema.

        :raises SchemaRefused: if it can't be enforced
        """
        return _schema(text)

    def accepts(self, reply: str) -> bool:
        """Tell whether a reply is JSON and valid."""
        try:
            return bool(_validator(self.text).is_valid(json.loads(reply)))
        except ValueError:
            return False


@functools.lru_cache(maxsize=64)
def _schema(text: str) -> Schema:
    if len(text) > MOST_CHARACTERS:
        raise SchemaRefused((), f"it has {len(text)} characters; {MOST_CHARACTERS} are the most.")
    try:
        root = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except RecursionError as error:
        raise SchemaRefused((), f"it is nested too deeply; {MOST_LEVELS} levels are the most.") from error
    except ValueError as error:
        raise SchemaRefused((), f"it is not JSON: {error}.") from error
    if any(character > _LAST_CHARACTER for character in json.dumps(root, ensure_ascii=False)):
        raise SchemaRefused((), "it has a character beyond U+3FFFF, which the model has no tokens for.")
    enforced = _Reader(root).read(root, (), 0)
    separators = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    # The space is the one that the chat template writes before an answer, so that the first token is a usual one.
    grammar = f'start: " " json\njson: %json {json.dumps({"x-guidance": separators, **enforced})}\n'
    _check_grammar(grammar)
    _validator(text)  # here, and not when the first reply is there, should it have none
    return Schema(text, grammar)


@functools.lru_cache(maxsize=64)
def _validator(text: str) -> Any:
    root = json.loads(text)
    return Draft202012Validator(without_references(root, root, _NOTES))


def _check_grammar(grammar: str) -> None:
    import llguidance  # comes with vllm, and is quick to load, but not needed by those who have no schema

    # What is on the list is far from these limits; should it not be, it is refused here and not in the engine.
    if error := llguidance.LLMatcher.validate_grammar(grammar):
        raise SchemaRefused((), f"the engine can't follow it: {error.strip().splitlines()[0]}.")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in read if names.count(name) > 1)
        raise ValueError(f'"{twin}" stands twice in one object')
    return read


class _Reader:
    """Reads a schema into what is enforced of it, references replaced by what they stand for."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._places = 0
        self._strings = 0
        self._parts = 0  # of their patterns
        self._optional = 0  # properties
        self._following: list[str] = []  # references, one within the other

    def read(self, schema: Any, place: tuple[str, ...], level: int, times: int = 1) -> dict[str, Any]:
        """
        Return what is enforced of ``schema``.

        :param level: of objects and arrays around it
        :param times: how often it may stand in a reply
        :raises SchemaRefused: if it can't be enforced
        """
        if not isinstance(schema, dict):
            raise SchemaRefused(place, f"must be an object that says what there is; got {json.dumps(schema)}.")
        if level > MOST_LEVELS:
            raise SchemaRefused(place, f"is nested too deeply; {MOST_LEVELS} levels are the most.")
        self._places += times
        if self._places > MOST_PLACES:
            raise SchemaRefused(
                place, f"asks for more than {MOST_PLACES} values, each item of an array counted up to its maxItems."
            )
        said = {keyword: value for keyword, value in schema.items() if keyword not in _NOTES}
        for keyword in said:
            if keyword not in _KEYWORDS and keyword not in _SAYING:
                raise SchemaRefused((*place, keyword), _refusal(keyword))
        if "$ref" in said:
            return self._reference(said, place, level, times)
        if "anyOf" in said:
            return self._alternatives(said, place, level, times)
        if "const" in said or "enum" in said:
            return _constants(said, place)
        return self._typed(said, place, level, times)

    def _reference(self, said: dict[str, Any], place: tuple[str, ...], level: int, times: int) -> dict[str, Any]:
        _alone(said, "$ref", place)
        reference = said["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise SchemaRefused((*place, "$ref"), 'must point into this schema, as in "#/$defs/name".')
        if reference in self._following:
            raise SchemaRefused((*place, "$ref"), "refers to what it is itself a part of; replies need an end.")
        try:
            steps, found = find(reference, self._root)
        except LookupError:
            raise SchemaRefused((*place, "$ref"), f"points to {reference}, which is not there.") from None
        self._following.append(reference)
        read = self.read(found, steps, level, times)
        self._following.pop()
        return read

    def _alternatives(self, said: dict[str, Any], place: tuple[str, ...], level: int, times: int) -> dict[str, Any]:
        _alone(said, "anyOf", place)
        branches = said["anyOf"]
        if not isinstance(branches, list) or not branches:
            raise SchemaRefused((*place, "anyOf"), "must be a list of schemas.")
        steps = [(*place, "anyOf", str(number)) for number in range(len(branches))]
        strings, parts = self._strings, self._parts
        read = [self.read(branch, step, level + 1, times) for branch, step in zip(branches, steps)]
        strings, parts = self._strings - strings, self._parts - parts
        if strings > MOST_STRINGS_BESIDE or (strings > 1 and parts > MOST_PARTS_BESIDE):
            raise SchemaRefused(
                (*place, "anyOf"),
                f"has strings that are too many to tell apart; {MOST_STRINGS_BESIDE} in all alternatives are the most, "
                f"and patterns of {MOST_PARTS_BESIDE} parts together. Where the texts are known, use enum.",
            )
        return {"anyOf": read}

    def _typed(self, said: dict[str, Any], place: tuple[str, ...], level: int, times: int) -> dict[str, Any]:
        types = _types(said, place)
        for keyword in said:
            about = _KEYWORDS.get(keyword, frozenset(types))
            if not about & set(types):
                wanted = " or ".join(sorted(about))
                raise SchemaRefused((*place, keyword), f"is about {wanted}; the type here is {', '.join(types)}.")
        enforced: dict[str, Any] = {"type": types}
        if "string" in types:
            enforced |= _string(said, place)
            self._strings += 1
            self._parts += parts_of(said["pattern"]) if "pattern" in said else 0
        if _NUMBERS & set(types):
            enforced |= _number(said, place)
        if "array" in types:
            enforced |= self._array(said, place, level, times)
        if "object" in types:
            enforced |= self._object(said, place, level, times)
        return enforced

    def _array(self, said: dict[str, Any], place: tuple[str, ...], level: int, times: int) -> dict[str, Any]:
        least = _count(said, "minItems", place, MOST_PLACES) or 0
        most = _count(said, "maxItems", place, MOST_PLACES)
        if most is not None and most < least:
            raise SchemaRefused((*place, "maxItems"), f"is less than minItems, {least}.")
        first = said.get("prefixItems", [])
        if not isinstance(first, list):
            raise SchemaRefused((*place, "prefixItems"), "must be a list of schemas.")
        steps = [(*place, "prefixItems", str(number)) for number in range(len(first))]
        enforced: dict[str, Any] = {k: said[k] for k in ("minItems", "maxItems") if k in said}
        if first:
            enforced["prefixItems"] = [self.read(item, step, level + 1, times) for item, step in zip(first, steps)]
        rest = said.get("items")
        if rest is False or (rest is None and first):
            if least > len(first):
                raise SchemaRefused((*place, "minItems"), f"is more than there are prefixItems, {len(first)}.")
            return enforced | {"items": False}
        if rest is None:
            raise SchemaRefused(place, "must say what its items are; add items.")
        count = max(1, (least if most is None else most) - len(first))
        return enforced | {"items": self.read(rest, (*place, "items"), level + 1, times * count)}

    def _object(self, said: dict[str, Any], place: tuple[str, ...], level: int, times: int) -> dict[str, Any]:
        properties, required = said.get("properties"), said.get("required", [])
        if not isinstance(properties, dict) or not properties:
            raise SchemaRefused(place, "must name its properties, since it is to have no others; add properties.")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaRefused((*place, "required"), "must be a list of names.")
        if missing := [name for name in required if name not in properties]:
            raise SchemaRefused((*place, "required"), f'names "{missing[0]}", which is not among the properties.')
        if said.get("additionalProperties", False) is not False:
            raise SchemaRefused(
                (*place, "additionalProperties"),
                "must be false or left out: no names are invented. For any number of pairs, use an array of objects.",
            )
        self._optional += len(properties.keys() - set(required))
        if self._optional > MOST_OPTIONAL:
            raise SchemaRefused(
                (*place, "properties"),
                f"are more than {MOST_OPTIONAL}, in all, that may be left out; make them required, and null allowed.",
            )
        read = {
            name: self.read(value, (*place, "properties", name), level + 1, times) for name, value in properties.items()
        }
        return {"properties": read, "required": required, "additionalProperties": False}


def _refusal(keyword: str) -> str:
    remedies = {
        "oneOf": "use anyOf",
        "allOf": "write out what they come to",
        "uniqueItems": "compare the items afterwards",
    }
    remedy = remedies.get(keyword, "leave it out")
    known = ", ".join(sorted({*_KEYWORDS, *_SAYING}))
    return f"is not among what is enforced; {remedy}. There are {known}, and notes such as title and description."


def _alone(said: Mapping[str, Any], keyword: str, place: tuple[str, ...]) -> None:
    if beside := [other for other in said if other != keyword]:
        raise SchemaRefused((*place, beside[0]), f"can't stand beside {keyword}; put it into what that refers to.")


def _constants(said: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    keyword = "const" if "const" in said else "enum"
    if beside := [other for other in said if other not in (keyword, "type")]:
        raise SchemaRefused((*place, beside[0]), f"can't stand beside {keyword}, which says all there is to say.")
    values = [said["const"]] if keyword == "const" else said["enum"]
    if not isinstance(values, list) or not values:
        raise SchemaRefused((*place, "enum"), "must be a list of values.")
    if any(isinstance(value, float) or (isinstance(value, int) and abs(value) > MOST_NUMBER) for value in values):
        raise SchemaRefused((*place, keyword), "has a number that is not an integer of up to 2**53.")
    if "type" in said:
        types = Draft202012Validator({"type": _types(said, place)})
        values = [value for value in values if types.is_valid(value)]
        if not values:
            raise SchemaRefused((*place, keyword), "has no value of the type that stands beside it.")
    return {"enum": values}


def _types(said: Mapping[str, Any], place: tuple[str, ...]) -> list[str]:
    if "type" not in said:
        raise SchemaRefused(place, f"must say what there is, with one of {', '.join(_SAYING)}.")
    given = said["type"]
    types = [given] if isinstance(given, str) else given
    if not isinstance(types, list) or not types or any(kind not in _TYPES for kind in types):
        raise SchemaRefused((*place, "type"), f"must be one or a list of {', '.join(_TYPES)}.")
    return types


def _string(said: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    least = _count(said, "minLength", place, MOST_LENGTH) or 0
    most = _count(said, "maxLength", place, MOST_LENGTH)
    if most is not None and most < least:
        raise SchemaRefused((*place, "maxLength"), f"is less than minLength, {least}.")
    saying = [keyword for keyword in ("pattern", "format", "minLength", "maxLength") if keyword in said]
    if saying[1:] and saying[0] in ("pattern", "format"):
        raise SchemaRefused((*place, saying[1]), f"can't stand beside {saying[0]}, which has to say it all.")
    if "format" in said and said["format"] not in FORMATS:
        raise SchemaRefused((*place, "format"), f"must be one of {', '.join(FORMATS)}; for others, use pattern.")
    if "pattern" not in said:
        return {keyword: said[keyword] for keyword in saying}
    try:
        return {"pattern": enforceable(str(said["pattern"]))}
    except PatternRefused as error:
        raise SchemaRefused((*place, "pattern"), f"{error}.") from error


def _number(said: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    enforced = {keyword: said[keyword] for keyword in said if _KEYWORDS.get(keyword) is _NUMBERS}
    for keyword, value in enforced.items():
        if not _is_number(value) or abs(value) > MOST_NUMBER or (value and abs(value) < 1 / MOST_NUMBER):
            raise SchemaRefused((*place, keyword), "must be 0 or a number from 2**-53 to 2**53, negative or not.")
    lows = [keyword for keyword in enforced if keyword.lower().endswith("minimum")]
    highs = [keyword for keyword in enforced if keyword.lower().endswith("maximum")]
    for low, high in itertools.product(lows, highs):
        if enforced[low] > enforced[high]:
            raise SchemaRefused((*place, high), f"is less than {low}, {enforced[low]}.")
    return enforced


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(said: Mapping[str, Any], keyword: str, place: tuple[str, ...], most: int) -> int | None:
    value = said.get(keyword)
    if keyword in said and not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most):
        raise SchemaRefused((*place, keyword), f"must be an integer from 0 to {most}.")
    return value
