"""What of JSON Schema is enforced, and what is refused with its place."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from captioning.form import shipped, with_schema
from sampling.schema import MOST_CHARACTERS, Schema, SchemaRefused
from tests.grammars import reply


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


def thing(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


ENFORCED: dict[str, dict[str, Any]] = {
    "maxLength": text(maxLength=5),
    "minLength": text(minLength=3, maxLength=4),
    "pattern": text(pattern="^[a-c]{2,3}$"),
    "pattern of digits": text(pattern=r"^\d{2}:\d{2}$"),
    "pattern of words": text(pattern=r"^\w{1,3}\s\w$"),
    "pattern of any": text(pattern="^.{2}$"),
    "pattern of quotes": text(pattern=r'^["\\\n]{2}$'),
    "date": text(format="date"),
    "time": text(format="time"),
    "date-time": text(format="date-time"),
    "integers": {"type": "integer", "minimum": 3, "maximum": 17},
    "exclusive": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6},
    "numbers": {"type": "number", "minimum": 0.5, "maximum": 1.25},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "several types": {"type": ["integer", "null"], "minimum": 0, "maximum": 3},
    "enum": {"enum": ["a", 1, None, True, [1], {"a": 2}, '"', "\u00e9\n"]},
    "enum and type": {"type": "string", "enum": ["a", 1]},
    "const": {"const": {"a": [1, "x"]}},
    "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 1, "maxItems": 3},
    "prefixItems": {"type": "array", "prefixItems": [{"const": 1}, {"const": "x"}], "items": False},
    "prefixItems and items": {
        "type": "array",
        "prefixItems": [{"const": 1}, {"const": "x"}],
        "items": {"const": 2},
        "minItems": 1,
        "maxItems": 4,
    },
    "object": thing("a", a={"const": 1}, b={"const": 2}),
    "object in object": thing("a", a=thing("b", b={"type": "null"}), c={"type": "boolean"}),
    "odd names": thing('"', **{'"': {"const": 1}, "\u00e9 \\": {"const": 2}, "": {"const": 3}}),
    "anyOf": {"anyOf": [{"const": 1}, text(maxLength=2)]},
    "anyOf with a pattern": {"anyOf": [text(pattern="^(a|b){0,140}$"), {"type": "null"}]},
    "$ref": {"$defs": {"a/b": {"const": 1}}, "type": "array", "items": {"$ref": "#/$defs/a~1b"}, "maxItems": 2},
    "notes": text(maxLength=2, title="t", description="d", default="x", examples=["y"]) | {"$comment": "c"},
}


@pytest.mark.parametrize("name", ENFORCED)
def test_what_is_on_the_list_is_enforced(name: str) -> None:
    schema = Schema.of(json.dumps(ENFORCED[name]))
    valid = Draft202012Validator(ENFORCED[name])
    for seed in range(15):
        said, whole = reply(schema.grammar, seed, 100)
        assert whole, said
        assert said[0] == " "  # as the chat template writes it before every answer
        valid.validate(json.loads(said))
        assert schema.accepts(said)


@pytest.mark.parametrize("name", shipped())
def test_random_replies_under_a_shipped_schema_are_valid_or_cut(name: str) -> None:
    given_with = with_schema({"outputSchema": [name]})
    schema = Schema.of(given_with["outputSchema"][0])
    assert given_with["prompt"][0]
    whole = 0
    for seed in range(20):
        said, ended = reply(schema.grammar, seed, int(given_with["maxNewTokens"][0]))
        assert schema.accepts(said) == ended
        whole += ended
    assert whole >= 12 or name == "credits"  # sixty credits of ten names are more than fit


def test_a_reply_that_is_not_valid_is_not_accepted() -> None:
    schema = Schema.of(json.dumps(thing("a", a={"type": "integer"})))
    assert schema.accepts('{"a": 1}')
    for wrong in ('{"a": "1"}', '{"a": 1', "{}", '{"a": 1, "b": 2}' * 2, "", "nonsense"):
        assert not schema.accepts(wrong)


@pytest.mark.parametrize("id_", ["http://example.org/inner", "#inner", 5, None, ["x"]])
def test_what_a_schema_is_called_is_a_note_wherever_it_stands(id_: Any) -> None:
    inner = thing("$id", **{"$id": {"$ref": "#/$defs/a b"}}) | {"$id": id_, "$schema": id_}
    outer = {"$defs": {"a b": {"const": 1}, "unused": {"$id": id_, "not": {}}}, "$id": "#"} | thing(
        "inner", inner=inner
    )
    schema = Schema.of(json.dumps(outer))
    assert schema.accepts('{"inner": {"$id": 1}}')
    assert not schema.accepts('{"inner": {"$id": 2}}')


def test_references_may_be_percent_encoded() -> None:
    schema = Schema.of(json.dumps({"$defs": {"a b%": {"const": 1}}, "$ref": "#/$defs/a%20b%25"}))
    assert schema.accepts("1")
    assert not schema.accepts("2")


def nested(depth: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(depth - 1), "maxItems": 1} if depth else {"type": "null"}


def fan(depth: int) -> dict[str, Any]:
    """References that double at every level."""
    pair = {f"d{n}": thing("a", "b", **{key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}) for n in range(depth)}
    return {"$defs": {**pair, f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


LOOP = {
    "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
    "$ref": "#/$defs/a",
}

REFUSED: list[tuple[Any, str, str]] = [
    # keywords that are not enforced, or not exactly
    (text(minLength=1, frobnicate=1), "/frobnicate", "not among what is enforced"),
    ({"type": "array", "items": text(), "uniqueItems": True}, "/uniqueItems", "compare the items afterwards"),
    ({"type": "array", "items": text(), "contains": text()}, "/contains", "not among"),
    ({"type": "integer", "multipleOf": 7}, "/multipleOf", "not among"),
    ({"oneOf": [text()]}, "/oneOf", "use anyOf"),
    ({"allOf": [text()]}, "/allOf", "write out"),
    ({"not": text()}, "/not", "not among"),
    (thing(a=text(nullable=True)), "/properties/a/nullable", "not among"),
    (thing(a=text()) | {"patternProperties": {}}, "/patternProperties", "not among"),
    (thing(a=text()) | {"maxProperties": 1}, "/maxProperties", "not among"),
    (thing(a=text()) | {"dependentRequired": {}}, "/dependentRequired", "not among"),
    (thing(a=text()) | {"x-guidance": {"whitespace_flexible": True}}, "/x-guidance", "not among"),
    (thing(a=text()) | {"additionalProperties": text()}, "/additionalProperties", "no names are invented"),
    # what says nothing, or contradicts itself
    (True, "its root", "must be an object"),
    ([], "its root", "must be an object"),
    ({}, "its root", "must say what there is"),
    ({"type": "object"}, "its root", "must name its properties"),
    ({"type": "array"}, "its root", "must say what its items are"),
    ({"type": "text"}, "/type", "must be one or a list of"),
    ({"type": []}, "/type", "must be one or a list of"),
    ({"type": [["string"]]}, "/type", "must be one or a list of"),
    ({"minLength": 1}, "its root", "must say what there is"),
    (text(minimum=1), "/minimum", "is about integer or number; the type here is string"),
    (text(minLength=3, maxLength=2), "/maxLength", "less than minLength, 3"),
    (text(maxLength="2"), "/maxLength", "integer from 0"),
    (text(maxLength=True), "/maxLength", "integer from 0"),
    ({"type": "integer", "minimum": 3, "maximum": 1}, "/maximum", "less than minimum, 3"),
    ({"type": "integer", "minimum": "3"}, "/minimum", "number"),
    ({"type": "array", "items": text(), "minItems": 3, "maxItems": 1}, "/maxItems", "less than minItems, 3"),
    ({"type": "array", "prefixItems": text()}, "/prefixItems", "must be a list of schemas"),
    ({"type": "array", "prefixItems": [text()], "minItems": 2}, "/minItems", "more than there are prefixItems"),
    ({"type": "array", "items": [text()]}, "/items", "must be an object"),
    (thing("z", a=text()), "/required", 'names "z"'),
    (thing(a=text()) | {"required": "a"}, "/required", "list of names"),
    ({"enum": []}, "/enum", "list of values"),
    ({"enum": [1.5]}, "/enum", "not an integer"),
    ({"type": "string", "enum": [1]}, "/enum", "no value of the type"),
    ({"enum": ["a"], "maxLength": 3}, "/maxLength", "beside enum"),
    ({"anyOf": []}, "/anyOf", "list of schemas"),
    ({"anyOf": [text()], "type": "string"}, "/type", "beside anyOf"),
    (thing(**{"a/b~": {"anyOf": [text(), {}]}}), "/properties/a~1b~0/anyOf/1", "must say what there is"),
    # strings
    (text(format="email"), "/format", "must be one of date, date-time, time"),
    (text(format="date", maxLength=9), "/maxLength", "beside format"),
    (text(pattern="^a$", minLength=1), "/minLength", "beside pattern"),
    (text(pattern="a"), "/pattern", "must begin with ^"),
    (text(pattern="(("), "/pattern", "no regular expression"),
    # references
    ({"$ref": "#"}, "/$ref", "must point into this schema"),
    ({"$ref": "https://example.org/s"}, "/$ref", "must point into this schema"),
    ({"$ref": "#/$defs/a"}, "/$ref", "not there"),
    ({"$ref": "#/$defs/a", "$defs": {"a": text()}, "maxLength": 1}, "/maxLength", "beside $ref"),
    (LOOP, "/$defs/b/$ref", "itself a part of"),
    # bombs
    (text(maxLength=10**9), "/maxLength", "from 0 to 2000"),
    (text(pattern="^(a+)+b$"), "/pattern", "a repetition within"),
    (text(pattern="^(a|aa)*(b*)*$"), "/pattern", "a repetition within"),
    (text(pattern="^((a{1,100}){1,100}){1,100}$"), "/pattern", "multiplied out"),
    (text(pattern="^(.{0,50}a){30}$"), "/pattern", "multiplied out"),
    (text(pattern="^" + "(" * 900 + "a" + ")" * 900 + "$"), "/pattern", "200 are the most"),
    (text(pattern="^.*a.{40}$"), "/pattern", "more than 20 parts around *"),
    ({"anyOf": [text(maxLength=n) for n in range(21)]}, "/anyOf", "20 in all alternatives are the most"),
    ({"anyOf": [thing(a={"anyOf": [text(maxLength=n)] * 11}) for n in range(2)]}, "/anyOf", "20 in all alternatives"),
    ({"anyOf": [text(pattern=f"^.{{0,50}}{letter}$") for letter in "ab"]}, "/anyOf", "100 parts together"),
    (thing(**{f"p{n}": {"type": "null"} for n in range(401)}), "/properties", "more than 400, in all"),
    ({"type": "array", "items": text(), "maxItems": 10**6}, "/maxItems", "from 0 to 1000"),
    (
        {"type": "array", "items": {"type": "array", "items": text(), "minItems": 40}, "minItems": 40},
        "/items/items",
        "1000 values",
    ),
    ({"type": "integer", "minimum": -(10**300)}, "/minimum", "2**53"),
    ({"enum": [10**300]}, "/enum", "2**53"),
    (nested(200), "/items" * 11, "nested too deeply"),
    (thing(**{f"p{n}": {"type": "null"} for n in range(1200)}), "its root", f"{MOST_CHARACTERS} are the most"),
]


@pytest.mark.parametrize(
    ("schema", "place", "reason"), REFUSED, ids=[f"{n}: {case[1]}" for n, case in enumerate(REFUSED)]
)
def test_what_is_not_is_refused_with_its_place_and_the_reason(schema: Any, place: str, reason: str) -> None:
    with pytest.raises(SchemaRefused) as refused:
        Schema.of(json.dumps(schema))
    assert refused.value.place == ("" if place == "its root" else place)
    assert reason in refused.value.reason
    assert str(refused.value) == f"at {place}: {refused.value.reason}"


def test_references_that_double_are_counted_each_time() -> None:
    with pytest.raises(SchemaRefused, match="more than 1000 values|nested too deeply"):
        Schema.of(json.dumps(fan(30)))
    with pytest.raises(SchemaRefused, match="more than 1000 values"):
        Schema.of(json.dumps(fan(10)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("slat", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "characters"),
        ("[" * 19_000, "nested too deeply|not JSON"),
        ('{"type": "string", "type": "null"}', '"type" stands twice'),
        ('{"const": NaN}', "NaN is no number"),
        ('{"const": 1e999}', "not an integer"),
        ('{"type": "string", "title": "' + "x" * MOST_CHARACTERS + '"}', "are the most"),
        ('{"const": ' + "[" * 500 + "]" * 500 + "}", "can't follow|nested too deeply|not JSON"),
        ('{"const": "\\ud800"}', "can't follow"),
        ('{"const": "\U00040000"}', "no tokens"),
    ],
)
def test_what_is_no_schema_at_all_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SchemaRefused, match=reason):
        Schema.of(text)


def schemas() -> Any:
    """Schemas of all kinds, sensible or not: some are refused, some are not."""
    small = st.integers(0, 4)
    words = st.text(max_size=6)
    values = st.one_of(words, small, st.booleans(), st.none())
    patterns = st.from_regex(r"\^[a-c(|).*+?{}0-9\\dw]{1,12}\$", fullmatch=True)
    types = st.lists(st.sampled_from(["null", "boolean", "string", "integer"]), max_size=3)
    oddities = st.sampled_from(["type", "not", "allOf", "minimum", "$ref", "uniqueItems"])
    constants = st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
    leaves = st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("string")}, optional={"minLength": small, "maxLength": st.integers(0, 40)}
        ),
        st.fixed_dictionaries({"type": st.just("string"), "pattern": patterns}),
        st.fixed_dictionaries(
            {"type": st.just("string"), "format": st.sampled_from(["date", "time", "date-time", "uri"])}
        ),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number"])},
            optional={"minimum": st.integers(-99, 99), "exclusiveMaximum": st.floats(-1e9, 1e9)},
        ),
        st.fixed_dictionaries({"enum": st.lists(values, max_size=5)}),
        st.fixed_dictionaries({"const": constants}),
        st.fixed_dictionaries({"type": types}),
        st.dictionaries(oddities, values, max_size=2),
    )

    def containers(inner: Any) -> Any:
        return st.one_of(
            st.fixed_dictionaries(
                {"type": st.just("array"), "items": inner}, optional={"minItems": small, "maxItems": st.integers(0, 30)}
            ),
            st.fixed_dictionaries({"type": st.just("array"), "prefixItems": st.lists(inner, max_size=3)}),
            st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)}),
            st.dictionaries(words, inner, max_size=4).flatmap(
                lambda properties: st.fixed_dictionaries(
                    {"type": st.just("object"), "properties": st.just(properties)},
                    optional={"required": st.lists(st.sampled_from(sorted(properties) or ["a"]), max_size=4)},
                )
            ),
        )

    return st.recursive(leaves, containers, max_leaves=8)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 2**32))
def test_any_schema_is_enforced_or_refused(made: Any, seed: int) -> None:
    try:
        schema = Schema.of(json.dumps(made))
    except SchemaRefused as refused:
        assert re.fullmatch(r"(/.*)?", refused.place, re.DOTALL)
        assert refused.reason.endswith(".")
        return
    said, whole = reply(schema.grammar, seed, 150)
    assert schema.accepts(said) or not whole
