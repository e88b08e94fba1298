"""The image's entrypoint, in front of a python3 that says how it was called."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "container" / "entrypoint.sh"
NO_GPU = not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))


def run(folder: Path, flavour: str, *command: str) -> subprocess.CompletedProcess[str]:
    python = folder / "python3"
    python.write_text('#!/bin/sh\necho called: "$@"\necho cache: "$XDG_CACHE_HOME"\n')
    python.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "IMAGE_FLAVOUR": flavour, "XDG_CACHE_HOME": str(folder)}
    return subprocess.run([ENTRYPOINT, *command], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("asked", ["--help", "-h", "help"])
def test_it_says_how_to_run_the_image(asked: str, tmp_path: Path) -> None:
    done = run(tmp_path, "cuda", asked)
    assert done.returncode == 0
    assert "docker run --gpus all" in done.stdout
    assert "called" not in done.stdout


@pytest.mark.parametrize(
    ("command", "called"),
    [
        (["python3", "app.py", "--production"], "app.py --production"),
        (["--kv-cache-gib", "6"], "app.py --production --kv-cache-gib 6"),
        (["python3", "cli.py", "a b", "c"], "cli.py a b c"),
    ],
)
def test_otherwise_it_runs_the_command_and_says_nothing(command: list[str], called: str, tmp_path: Path) -> None:
    done = run(tmp_path, "cpu", *command)
    assert (done.stdout, done.stderr) == (f"called: {called}\ncache: {tmp_path}\n", "")


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (["python3", "app.py", "--production"], True),
        (["--threads", "8"], True),
        (["python3", "app.py", "--help"], False),
        (["python3", "metadata.py"], False),
    ],
)
def test_the_gpu_image_does_not_serve_without_a_gpu(command: list[str], refused: bool, tmp_path: Path) -> None:
    done = run(tmp_path, "cuda", *command)
    assert done.returncode == (2 if refused else 0)
    assert ("add --gpus all" in done.stderr.splitlines()[-1]) if refused else not done.stderr
    assert ("called" in done.stdout) is not refused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")
def test_a_cache_that_is_not_writable_is_named_and_done_without(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    env = {"PATH": os.environ["PATH"], "IMAGE_FLAVOUR": "cpu", "XDG_CACHE_HOME": str(cache)}
    command = [ENTRYPOINT, "sh", "-c", "echo $XDG_CACHE_HOME $TRITON_CACHE_DIR"]
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=4711", "--clear-groups", "sh", *command], env=env, capture_output=True, text=True
    )
    assert done.stdout == "/tmp/cache /tmp/cache/triton\n"
    assert f"{cache} can't be written to by user 4711: run the image with --user, as its owner (0:0)" in done.stderr
