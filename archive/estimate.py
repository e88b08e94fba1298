"""What a backfill would have to do, and how long that might take."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmif import Mmif
from rich.console import Group
from rich.table import Table
from rich.text import Text

from archive.choice import Choice
from archive.display import duration
from archive.inputs import Job
from archive.plan import Pass
from archive.records import RunRecord
from archive.work import check_name
from captioning.parameters import Parameters
from captioning.plan import plan
from captioning.urls import Url, content_of

SAMPLE = 200  # files that are looked into at most; of more, these many are drawn
_PROMPTS_TO_TRUST = 20  # answered in a run, before its rate means anything


@dataclass
class Estimate:
    """
    What files hold, as the passes see it.

    :param files: looked into
    :param unreadable: those that would fail
    :param time_frames: that some pass selects
    :param prompts: over all passes
    :param frames: pictures, each counted once however many passes want it
    """

    files: int = 0
    unreadable: int = 0
    time_frames: int = 0
    prompts: int = 0
    frames: int = 0


def look_into(jobs: Sequence[Job], passes: Sequence[Pass]) -> Estimate:
    """Count what is in the files of ``jobs``, or in a sample of them. Decodes nothing."""
    sample = list(jobs) if len(jobs) <= SAMPLE else random.Random(0).sample(list(jobs), SAMPLE)
    asked = [Parameters.of(made.refined) for made in passes]
    found = Estimate()
    for job in sample:
        found.files += 1
        try:
            check_name(job)
            mmif = Mmif(content_of(job.source))
            tasks = [task for parameters in asked for task in plan(mmif, parameters, fetch=_left_there).tasks]
        except Exception:  # whatever is wrong with it, it would be recorded
            found.unreadable += 1
            continue
        found.time_frames += len({task.time_frame for task in tasks})
        found.prompts += len(tasks)
        found.frames += len({(task.path, instant.ms) for task in tasks for instant in task.instants})
    return found


def _left_there(url: Url) -> Path:
    """Nothing of a video is needed but that it is the same for all who want it."""
    return Path(url.name)


def rate(runs: Sequence[RunRecord], model: str) -> float | None:
    """Return the prompts a second of the latest run with this model that says something; ``None`` if there is none."""
    for run in reversed(runs):
        if run.model == model and run.prompts >= _PROMPTS_TO_TRUST and run.busy > 0:
            return run.prompts / run.busy
    return None


def shown(choice: Choice, found: Estimate, measured: float | None) -> Group:
    """Return what ``--dry-run`` says."""
    whole = len(choice.jobs)
    sampled = 0 < found.files < whole
    scale = whole / found.files if found.files else 1.0
    table = Table(show_header=False, title="What is to be done", title_justify="left")
    table.add_column(style="dim")
    table.add_column(justify="right")
    rows = [("Files", whole), ("Done already", choice.unchanged), ("Failed before, not tried again", choice.failed)]
    for name, value in rows:
        table.add_row(name, f"{value}")
    about = "about " if sampled else ""
    counted = [
        ("Files that can't be used", found.unreadable),
        ("TimeFrames", found.time_frames),
        ("Prompts", found.prompts),
        ("Frames", found.frames),
    ]
    for name, value in counted:
        table.add_row(name, f"{about}{round(value * scale)}")
    if measured:
        table.add_row("Time", f"about {duration(found.prompts * scale / measured)}")
    notes = []
    if sampled:
        notes.append(f"Reckoned from {found.files} files drawn by lot.")
    if measured:
        notes.append(f"The last run of this backfill answered {measured:.2f} prompts a second.")
    else:
        notes.append("How long it will take is known when some of it is done: start it, stop it, and ask again.")
    return Group(table, Text(" ".join(notes)))
