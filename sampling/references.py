"""Where the references of a JSON Schema lead, which all point into it."""

from collections.abc import Set
from typing import Any
from urllib.parse import unquote


def find(reference: str, root: Any) -> tuple[tuple[str, ...], Any]:
    """
    Return the steps to what a reference points to, and that.

    :param reference: as in ``#/$defs/name``, percent-encoded or not
    :param root: the whole schema
    :raises LookupError: if it isn't there
    """
    steps = tuple(step.replace("~1", "/").replace("~0", "~") for step in unquote(reference[2:]).split("/"))
    found = root
    for step in steps:
        if not isinstance(found, dict):
            raise LookupError(step)
        found = found[step]
    return steps, found


def without_references(schema: Any, root: Any, notes: Set[str]) -> Any:
    """
    Return what a schema says, with what its references stand for in their place. Without its notes, too: an ``$id``
    would have a validator look for references elsewhere.

    :param schema: one whose references have been followed already, so that they are there and have an end
    :param notes: keywords that say nothing
    """
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return without_references(find(schema["$ref"], root)[1], root, notes)
    said = {keyword: value for keyword, value in schema.items() if keyword not in notes}
    for keyword, value in said.items():
        if keyword == "properties":
            said[keyword] = {name: without_references(inner, root, notes) for name, inner in value.items()}
        elif keyword in ("anyOf", "prefixItems"):
            said[keyword] = [without_references(inner, root, notes) for inner in value]
        elif keyword == "items":
            said[keyword] = without_references(value, root, notes)
    return said
