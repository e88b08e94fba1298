"""Makes the lock files: every package that the requirements bring along, at one version, with its files' hashes.

``python -m scripts.lock`` adds what new requirements need and leaves other versions alone; with ``--upgrade`` it takes
the newest that fit. The requirements files say what the project asks for, the lock files what it gets.
"""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.commands import ROOT
from scripts.packages import AUDIO, TORCH_INDEX, answers, pins

LOCKS = ROOT / "locks"
MACHINE = "x86_64"


class LockError(Exception):
    """Why there is no lock, for whoever asked for it."""


@dataclass(frozen=True)
class Lock:
    """
    One lock file.

    :param name: its name in ``locks/``, without the suffix
    :param requirements: the files it is made from
    :param pythons: the Python versions it is good for; made for the first, and checked to be the same for the others
    :param without: packages that are left out, though others ask for them
    :param beside: locks that it is installed beside, and whose versions it therefore takes
    :param elsewhere: whether PyPI lacks some of it: pip's extra places and PyTorch's page of CPU builds are searched
    :param whole: whether what the requirements depend on comes along
    """

    name: str
    requirements: Sequence[str]
    pythons: Sequence[str]
    without: Sequence[str] = ()
    beside: Sequence[str] = ()
    elsewhere: bool = False
    whole: bool = True

    @property
    def file(self) -> Path:
        """Where it lies."""
        return LOCKS / f"{self.name}.txt"


EVERY_PYTHON = ("3.11", "3.12", "3.13", "3.14")
# PyTorch's CPU build is not on PyPI; only the file for this Python could be had, and hashed, where the lock was made.
CPU_PYTHON = ("3.11",)

ALL = (
    Lock("cuda", ["requirements.txt"], EVERY_PYTHON),
    Lock("cpu", ["requirements-cpu.txt"], CPU_PYTHON, without=AUDIO, elsewhere=True),
    Lock("dev", ["requirements-dev.txt"], EVERY_PYTHON, beside=("cuda", "cpu")),
    Lock("ray", ["requirements-ray.txt"], EVERY_PYTHON, beside=("cuda", "cpu")),
    Lock("files", ["requirements-files.txt"], EVERY_PYTHON, whole=False),
)


def make(lock: Lock, *, upgrade: bool) -> None:
    """
    Write ``lock``.

    :raises LockError: if its requirements can't be met together, or not by the same packages on all its Pythons
    """
    if upgrade:
        lock.file.unlink(missing_ok=True)
    # What stands in the file that uv writes to, it keeps.
    options = ["--generate-hashes", "--output-file", str(lock.file.relative_to(ROOT)), "--quiet"]
    resolve(lock, lock.pythons[0], [*options, *(o for name in lock.without for o in ("--no-emit-package", name))])
    header = f"# For Python {', '.join(lock.pythons)} on {MACHINE}. Made by `make lock` from {lock.requirements[0]}.\n"
    lock.file.write_text(header + lock.file.read_text())
    ours = pins(lock.file.read_text())
    with tempfile.TemporaryDirectory() as folder:
        only_these = Path(folder) / "versions.txt"
        only_these.write_text("\n".join(ours))
        for python in lock.pythons[1:]:
            theirs = pins(resolve(lock, python, ["--constraint", str(only_these)]))
            if theirs != ours:
                differing = "\n".join(difflib.unified_diff(ours, theirs, lock.pythons[0], python, n=0, lineterm=""))
                raise LockError(f"{lock.file.name}: Python {python} needs other packages:\n{differing}")


def resolve(lock: Lock, python: str, options: Sequence[str]) -> str:
    """Have uv find the packages of ``lock`` for one Python, and return what it prints."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *lock.requirements, *options]
    command += ["--python-version", python, "--python-platform", f"{MACHINE}-manylinux_2_28", "--no-header"]
    command += [f"--constraint={ROOT / 'locks' / name}.txt" for name in lock.beside]
    command += [f"--find-links={place}" for place in places()] if lock.elsewhere else []
    command += [] if lock.whole else ["--no-deps"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"}, capture_output=True, text=True
    )
    if done.returncode:
        raise LockError(f"{lock.file.name}, Python {python}: {done.stderr.strip()}")
    return done.stdout


def places() -> list[str]:
    """Where files lie that PyPI lacks. (uv does not read pip's settings.)"""
    page = f"{TORCH_INDEX}/torch/"
    return os.environ.get("PIP_FIND_LINKS", "").split() + ([page] if answers(page) else [])


def main(arguments: list[str] | None = None) -> int:
    """Make all locks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lock", description="Make the lock files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    upgrade = parser.parse_args(arguments).upgrade
    LOCKS.mkdir(exist_ok=True)
    try:
        for lock in ALL:
            make(lock, upgrade=upgrade)
            print(f"{lock.file.relative_to(ROOT)}: {len(pins(lock.file.read_text()))} packages")
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
