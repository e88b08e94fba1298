"""What the shipped dashboard and alert rules ask of Prometheus."""

import json
from pathlib import Path
from typing import Any

import yaml
from promql_parser import AggregateExpr, Expr, MatchOp, VectorSelector, parse, walk

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
BY_PROMETHEUS = {"instance", "job"}  # labels that it adds to what it reads


def dashboard() -> dict[str, Any]:
    """Return Grafana's, as JSON has it."""
    return dict[str, Any](json.loads((DEPLOY / "grafana" / "dashboard.json").read_text()))


def rules() -> list[dict[str, Any]]:
    """Return the alert rules of all groups."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[Expr]:
    """
    Return every query, Grafana's with an interval in place of its variable.

    :raises ValueError: if one is not PromQL
    """
    shown = dashboard()
    asked = [target["expr"] for panel in shown["panels"] for target in panel.get("targets", ())]
    asked += [note["expr"] for note in shown["annotations"]["list"]]
    asked += [rule["expr"] for rule in rules()]
    return [parse(query.replace("$__rate_interval", "5m")) for query in asked]


def wanted(query: Expr) -> dict[str, dict[str, set[str]]]:
    """
    Return what a query selects: names of metrics, of each the labels that it is selected or grouped by, of each of
    these the values that it has to have, or not to have.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for part in _parts(query):
        if isinstance(part, VectorSelector):
            labels = found.setdefault(str(part.name), {})
            for matcher in part.matchers.matchers:
                values = labels.setdefault(matcher.name, set())
                if matcher.op in (MatchOp.Equal, MatchOp.NotEqual):
                    values.add(matcher.value)
        elif isinstance(part, AggregateExpr) and part.modifier is not None:
            for name in wanted(part.expr):
                for label in part.modifier.labels:
                    found.setdefault(name, {}).setdefault(label, set())
    return found


def _parts(query: Expr) -> list[Expr]:
    parts: list[Expr] = []
    walk(query, parts.append)
    return parts
