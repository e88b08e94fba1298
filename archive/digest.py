"""
What identifies a plan: a digest of all that captions depend on but the input, the same from release to release.

A parameter that stands at the default that it came with is left out, since a new parameter's default is what the app
did before there was one: a release that adds parameters leaves an archive done. A default that changes later changes
what is asked, and so the digest; for that, what the default was at first stands in :data:`FIRST_DEFAULTS`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archive.ledger import Ledger
from archive.plan import Given, Pass
from archive.records import RunRecord

# Most say how the work is done and recorded, and change no caption; the model counts as what it really is.
NOT_DIGESTED = frozenset({"parallelPrompts", "pretty", "runningTime", "hwFetch", "model"})

# Defaults that have changed: what they were when the parameter came, as refined.
FIRST_DEFAULTS: Mapping[str, Any] = {}

_FORM = "2:"  # before this one, a digest held all parameters of the release


def digest(passes: Sequence[Pass], usual: Mapping[str, Any], model: str) -> str:
    """
    Return :data:`_FORM` and SHA-256, hexadecimal, of all that captions depend on but the input.

    :param usual: the refined parameters of a call that gives none
    :param model: what captions, as ``id@revision``
    """
    neutral = {**usual, **FIRST_DEFAULTS}
    asked = [
        [made.name, {k: v for k, v in _counting(made).items() if k not in neutral or v != neutral[k]}]
        for made in passes
    ]
    return _FORM + hashlib.sha256(json.dumps([model, asked], sort_keys=True, default=str).encode()).hexdigest()


def _counting(made: Pass) -> dict[str, Any]:
    """The refined parameters of a pass that its captions depend on."""
    return {k: v for k, v in made.refined.items() if k not in NOT_DIGESTED and not k.startswith("#")}


def former_digests(
    ledger: Ledger, usual: Mapping[str, Any], refine: Callable[[Given], Mapping[str, Any]]
) -> dict[str, str]:
    """
    Map digests of the earlier form in a ledger to those of today.

    They can't be made again, as the parameters that there were are not known any more. But the ledger knows the plan of
    each run, and which files were begun in it; all that came of these has the digest of that plan.

    :param refine: refines parameters as they were given; ValueError if they can't be used any more
    """
    found: dict[str, str] = {}
    for run, digests in ledger.digests_by_run():
        earlier = [known for known in digests if not known.startswith(_FORM)]
        if len(earlier) == 1 and (passes := _passes(run, refine)) is not None:
            found[earlier[0]] = digest(passes, usual, run.model)
    return found


def _passes(run: RunRecord, refine: Callable[[Given], Mapping[str, Any]]) -> list[Pass] | None:
    try:
        return [Pass(asked["name"], asked["parameters"], refine(asked["parameters"])) for asked in run.plan]
    except ValueError:
        return None
