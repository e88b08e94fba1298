"""The shipped dashboard, as Grafana reads it: it drops without a word what it does not know."""

import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.serving.queries import dashboard

# What its own exports hold, and its schema leaves to the data source.
BEYOND_THE_SCHEMA = {"annotations.list.0.titleFormat", "templating.list.1.definition"}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Go through all that a JSON document says, and where."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def test_grafana_reads_all_that_the_dashboard_says() -> None:
    register_default_plugins()
    said = dict(_leaves(dashboard()))
    read = dict(_leaves(json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard())))))
    assert len(said) > 500
    assert {path for path, value in said.items() if read.get(path, ...) != value} == BEYOND_THE_SCHEMA


def test_panels_do_not_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
