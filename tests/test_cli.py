"""The side door, as a process where standard streams matter and in this one where they don't."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import app
import cli
from app import SmolVLM2Captioner
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import captions, error

ROOT = Path(__file__).parent.parent


@pytest.fixture
def warm(captioner: SmolVLM2Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line use the session's engine, and leave it running."""
    monkeypatch.setattr(app, "get_app", lambda: captioner)
    monkeypatch.setattr(captioner.engine, "close", lambda: None)


def test_standard_output_carries_nothing_but_mmif(broadcast: Broadcast) -> None:
    command = [sys.executable, "cli.py", "--tfLabels", "slate", "--parallelPrompts", "4"]
    done = subprocess.run(command, cwd=ROOT, input=swt_mmif(broadcast), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = captions(done.stdout)
    assert found
    for caption in found:
        assert caption.text == broadcast.expected_caption(caption.times)


@pytest.mark.usefixtures("warm")
def test_from_file_to_file(broadcast: Broadcast, tmp_path: Path) -> None:
    given, made = tmp_path / "in.mmif", tmp_path / "out.mmif"
    given.write_text(swt_mmif(broadcast))
    assert cli.main(["--tfLabels", "slate", "credits", "--tfSamplingMode", "single", str(given), str(made)]) == 0
    assert {caption.text.split()[0] for caption in captions(made.read_text())} == {"slate", "credits"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mmif", "out.mmif"]
    assert made.stat().st_mode & 0o777 == given.stat().st_mode & 0o777  # what the umask leaves, as of any new file


@pytest.mark.usefixtures("warm")
def test_a_failed_call_leaves_an_error_view_and_exits_1(
    broadcast: Broadcast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, made = tmp_path / "in.mmif", tmp_path / "out.mmif"
    given.write_text(swt_mmif(broadcast))
    assert cli.main(["--topP", "7", str(given), str(made)]) == 1
    assert "topP" in error(made.read_text())
    assert "topP" in capsys.readouterr().err


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("content", ["{broken", "[]", ""])
def test_input_that_is_not_mmif_writes_no_output(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given, made = tmp_path / "in.mmif", tmp_path / "out.mmif"
    given.write_text(content)
    made.write_text("of an earlier run")
    assert cli.main([str(given), str(made)]) == 1
    assert "Invalid input data" in capsys.readouterr().err
    assert made.read_text() == "of an earlier run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mmif", "out.mmif"]


@pytest.mark.usefixtures("warm")
def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(tmp_path / "none.mmif"), str(tmp_path / "out.mmif")]) == 1
    assert "none.mmif" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_exits_2() -> None:
    environment = os.environ | {"CAPTIONER_DTYPE": "int3"}
    done = subprocess.run([sys.executable, "cli.py", "-"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("cli.py: CAPTIONER_DTYPE (--dtype)")
    assert done.stdout == ""


def test_without_weights_it_says_what_to_do(broadcast: Broadcast, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "CAPTIONER_MODEL"}
    environment |= {"HF_HUB_OFFLINE": "1", "CAPTIONER_HF_HOME": str(tmp_path)}
    command = [sys.executable, "cli.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, input=swt_mmif(broadcast), capture_output=True, text=True)
    assert done.returncode == 1
    assert "CAPTIONER_MODEL=demo" in error(done.stdout)
    assert "CAPTIONER_MODEL=demo" in done.stderr
    assert json.loads(done.stdout)["views"][-1]["metadata"]["app"].startswith(
        "http://apps.clams.ai/smolvlm2-captioner/"
    )


def test_every_parameter_is_an_option() -> None:
    done = subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(f"--{parameter.name}" in done.stdout for parameter in app.get_app().metadata.parameters)
