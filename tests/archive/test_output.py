"""Outputs are whole or not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archive.output import atomic, remove_parts

ROOT = Path(__file__).parent.parent.parent


def test_appears_whole_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.mmif"
    with atomic(target) as file:
        file.write("{}")
        assert not target.exists()
    assert target.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_what_stood_there(tmp_path: Path) -> None:
    target = tmp_path / "a.mmif"
    target.write_text("before")
    with pytest.raises(RuntimeError, match="on the way"), atomic(target) as file:
        file.write("after")
        raise RuntimeError("on the way")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.mmif") as file:
        file.write("{}")
    (tmp_path / "b.mmif").touch()
    assert (tmp_path / "a.mmif").stat().st_mode == (tmp_path / "b.mmif").stat().st_mode


def test_file_and_folder_are_synced_in_the_order_that_a_power_cut_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        events.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with atomic(tmp_path / "a.mmif") as file:
        file.write("{}")
    assert events == ["file", "rename", "folder"]


def test_what_a_killed_process_leaves_can_be_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from archive.output import atomic\n"
        "with atomic(Path(sys.argv[1])) as file:\n"
        "    file.write('half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "a.mmif"
    (tmp_path / ".a.mmif.part").touch()  # someone else's
    done = subprocess.run([sys.executable, "-c", code, str(target)], cwd=ROOT)
    assert done.returncode == -9
    (left,) = set(tmp_path.iterdir()) - {tmp_path / ".a.mmif.part"}
    assert (left.read_text(), left.suffix) == ("half", ".part")
    remove_parts(target)
    assert list(tmp_path.iterdir()) == [tmp_path / ".a.mmif.part"]
    remove_parts(tmp_path / "no folder" / "a.mmif")


@pytest.mark.parametrize("name", ["x" * 250, "ä" * 125])
def test_long_names(tmp_path: Path, name: str) -> None:
    with atomic(tmp_path / name) as file:
        file.write("{}")
    assert [path.name for path in tmp_path.iterdir()] == [name]
