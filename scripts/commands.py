"""The set-up step's project, its commands, and what it says when one of them fails."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent

UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError|Max retries exceeded"
)
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
BIG_DOWNLOAD = re.compile(r"Downloading (?:\S*/)?([^/\s]+?)-\d\S* \((\d{3,}\.\d MB|\d+\.\d GB)\)")


class SetupError(Exception):
    """Why there is no working ``.venv`` and what to do about it, in one line."""


@dataclass(frozen=True)
class Project:
    """
    Where the set-up step reads and writes.

    :param tests: whether what checks and tests need is installed, too; an image does without
    """

    root: Path = ROOT
    tests: bool = True

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The directory of ``.venv`` that packages lie in."""
        return self.venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    @property
    def stamp(self) -> Path:
        return self.venv / ".stamp"

    @property
    def unfinished(self) -> Path:
        return self.venv / ".unfinished"

    @property
    def log(self) -> Path:
        return self.root / "build" / "setup.log"


def pip(arguments: list[str], project: Project, log: TextIO) -> None:
    """Run the pip of ``.venv``; raise `SetupError` in the words that fit its failure."""
    run_in_venv(["-m", "pip", *arguments], "pip failed", project, log)


def run_in_venv(arguments: list[str], otherwise: str, project: Project, log: TextIO) -> str:
    """Run the Python of ``.venv``; see `run`."""
    return run([str(project.python), *arguments], otherwise, project, log)


def run(command: list[str], otherwise: str, project: Project, log: TextIO) -> str:
    """Run `command`, which must succeed, and return what it printed; its errors and that go to `log` as they come.

    Raises `SetupError`: the disk is full, the package index cannot be reached, or `otherwise`.
    """
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}
    print("$", *command, file=log, flush=True)
    start = project.log.stat().st_size
    printed = []
    with subprocess.Popen(
        command,
        cwd=project.root,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,
    ) as process:
        try:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                printed.append(line)
                if big := BIG_DOWNLOAD.search(line):
                    say(f"downloading {big[1]}, {big[2]}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise SetupError(explain(project.log.read_bytes()[start:].decode(errors="replace"), otherwise))
    return "".join(printed)


def end_with_parent() -> None:
    """Have this process killed when its parent dies, so that no pip goes on writing into a ``.venv`` made anew."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


def explain(output: str, otherwise: str) -> str:
    """The one line that says why a command with this `output` failed."""
    if DISK_FULL.search(output):
        return "the disk is full: pip ran out of space in the middle; free some and run it again"
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("[notice]")]
    if UNREACHABLE.search("\n".join(lines[-12:])):  # not a hiccup that pip got over
        return "the package index cannot be reached: check the network, or the index and proxy that pip is set to"
    return f"{otherwise}: {lines[-1].strip() if lines else 'no reason given'} (see build/setup.log)"


def in_words(error: OSError) -> str:
    """An error of the file system as `SetupError` puts it."""
    return f"the disk is full: {error}" if DISK_FULL.search(str(error)) else str(error)


def say(phase: str) -> None:
    """One line on the terminal."""
    print(f"set-up: {phase}", flush=True)
