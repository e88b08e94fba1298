"""How a backfill ends: its exit codes, and what it says, when something is in its way."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import backfill
from archive.lock import locked
from demo.broadcast import Broadcast
from tests.archive.archives import Run, make_archive, outputs, records


@pytest.fixture
def archive(tmp_path: Path, broadcast: Broadcast) -> list[str]:
    return make_archive(tmp_path / "in", broadcast, 6)


def test_two_on_one_output_refuse_each_other(
    start: Run, archive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(Path("out")):
        assert start() == 5
    assert f"Another backfill is at work on out: process {os.getpid()}" in capsys.readouterr().err
    assert start() == 0


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topP", "9"], 'plan.yaml:3: pass "first": Value for parameter "topP" must be'),
        (["--column", "x", "--base", "none"], "is not below"),
        (["x" * 300], "xxx can't be looked at: File name too long"),
        (["--server", "localhost"], "localhost is not the address of a server"),
        (["--parallel", "many"], "CAPTIONER_PARALLEL (--parallel)"),
    ],
)
def test_a_wrong_command_does_nothing(
    start: Run, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.usefixtures("archive")
def test_the_report_follows_only_when_all_was_tried_and_its_failure_is_told(
    start: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: list[int | BaseException] = []

    def report_on(arguments: list[str]) -> int:
        if isinstance(outcome := outcomes.pop(), BaseException):
            raise outcome
        return outcome

    def ends_with(code: int) -> int:
        monkeypatch.setattr(backfill, "_work", lambda *arguments: code)
        return start("--report")

    monkeypatch.setattr(backfill, "report_on", report_on)
    assert [ends_with(code) for code in (3, 130)] == [3, 130]
    outcomes[:] = [0, 0]
    assert [ends_with(code) for code in (0, 4)] == [0, 4]
    outcomes[:] = [1, 1]
    capsys.readouterr()
    assert [ends_with(code) for code in (0, 4)] == [3, 4]
    assert capsys.readouterr().err.count("the report lacks what is named above; `backfill.py report out`") == 2
    outcomes[:] = [KeyboardInterrupt()]
    assert ends_with(0) == 130
    assert "interrupted in the report; `backfill.py report out` goes on" in capsys.readouterr().err
    monkeypatch.setattr(backfill, "_report", lambda arguments: report_on([]))
    outcomes[:] = [KeyboardInterrupt()]
    assert backfill.main(["report", "out"]) == 130
    assert "before anything" not in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_it_and_with_more_room_it_goes_on(
    start: Run, small_disk: Path, broadcast: Broadcast, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_archive(Path("in"), broadcast, 12)
    code = start()
    said = capsys.readouterr().err
    assert code == 3
    assert "Make room" in said
    assert list(small_disk.rglob("*.part")) == []
    for text in outputs(small_disk).values():
        json.loads(text)  # whole
    assert set(outputs(small_disk)) < set(paths)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert start() == 0
    assert list(outputs(small_disk)) == paths
    assert {record.state for record in records().values()} == {"done"}
    assert list(records()) == paths


@pytest.mark.usefixtures("archive")
def test_an_output_folder_that_can_not_be_made_is_a_wrong_command(
    start: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    del start
    assert backfill.main(["in", "/proc/nope"]) == 2
    assert "OUTPUT can't be made or written to, /proc/nope" in capsys.readouterr().err


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize("pages_left", [0, 1, 2, 4, 8])
def test_a_disk_that_is_full_at_the_start_is_no_wrong_command(
    start: Run, small_disk: Path, capsys: pytest.CaptureFixture[str], pages_left: int
) -> None:
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    os.truncate(filler, filler.stat().st_size - 4096 * pages_left)
    assert start() == 3
    assert "room, " in capsys.readouterr().err
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert start() == 0
