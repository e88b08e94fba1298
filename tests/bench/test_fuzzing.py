"""Malformed requests, before they are sent."""

from bench.fuzzing.cases import Ground, case
from bench.fuzzing.junk import Location

MMIF = '{"documents": [{"properties": {"location": "file:///a.mp4"}}], "views": [{"annotations": []}]}'


def test_every_case_can_be_made_and_is_the_same_again() -> None:
    ground = Ground(MMIF, {"prompt": "What is seen?", "tfLabels": ""}, [Location("/a.mp4")])
    made = [case(1, number, ground) for number in range(4000)]
    assert {one.kind for one in made} == {
        "bytes", "json", "mmif", "document", "parameters", "headers", "framing", "endpoints",
    }  # fmt: skip
    assert [case(1, number, ground) for number in range(3000, 4000)] == made[3000:]
    lone = "\ud800".encode("utf-8", "surrogatepass")
    assert any(lone in one.request for one in made)
    assert any(one.kind == "endpoints" and b"%ED%A0%80" in one.request for one in made)
