"""docs/architecture.md names the rooms that there are, and the code keeps to the directions that it sets."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LISTED = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]  # a page without fails at once
ROOMS = dict(re.findall(r"^(\w+)/(.*(?:\n  .*)*)", LISTED, re.MULTILINE))
NAMED_WHOLE = ("sampling", "engine", "captioning", "serving", "archive")  # the app itself: each of its modules

# Who may import whom. ``configuration`` is anybody's, and so is whatever stands in the room itself.
MAY_IMPORT = {
    "engine": set(),
    "sampling": set(),
    "captioning": {"sampling", "engine"},
    "serving": {"captioning", "sampling", "engine"},
    "archive": {"captioning", "sampling", "engine"},
}
# Who knows of these at all.
KNOWN_TO = {
    "vllm": ("engine/", "sampling/decoding.py"),
    "mmif": ("captioning/", "archive/", "sampling/timepoints.py"),
    "clams": ("captioning/", "archive/", "serving/"),
}


def modules(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py")


def imported(path: Path, *, lazily: bool = True) -> Iterator[str]:
    """The top-level names that a module imports when it runs; without those within functions, if so asked."""
    tree = ast.parse(path.read_text())
    for_types = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    passed_over = {inner for node in for_types for inner in ast.walk(node)}
    if not lazily:
        functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        passed_over |= {inner for node in functions for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in passed_over:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_what_the_page_names_is_there(room: str) -> None:
    assert (ROOT / room).is_dir()
    for name in re.findall(r"(?<![\w/*-])([\w-]+(?:\.py|\.json|/))(?![\w*])", ROOMS[room]):
        assert (ROOT / room / name).exists() or (ROOT / name).exists(), f"there is no {room}/{name}"


def test_the_page_names_every_room_and_every_door() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    doors = {path.name for path in ROOT.glob("*.py")}
    assert rooms <= ROOMS.keys()
    assert doors == set(re.findall(r"^(\w+\.py) ", LISTED, re.MULTILINE))


@pytest.mark.parametrize("room", NAMED_WHOLE)
def test_the_page_names_every_module(room: str) -> None:
    missing = [path.name for path in modules(room) if f"{path.name} " not in ROOMS[room]]
    assert not missing, f"docs/architecture.md has to say what these of {room}/ are for"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room: str) -> None:
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
    allowed = MAY_IMPORT[room] | {room, "configuration"}
    for path in modules(room):
        wrong = (set(imported(path)) & own) - allowed
        assert not wrong, f"{path.relative_to(ROOT)} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("library", KNOWN_TO)
def test_libraries_stay_where_they_belong(library: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for room in NAMED_WHOLE for path in modules(room)}
    users = {user for user in users if library in imported(ROOT / user)}
    assert users, f"nobody imports {library}: look at this test"
    assert all(user.startswith(KNOWN_TO[library]) for user in users), users


def test_vllm_is_imported_when_it_is_needed_and_not_before() -> None:
    every = [path for room in NAMED_WHOLE for path in modules(room)]
    eager = {path.relative_to(ROOT).as_posix() for path in every if "vllm" in imported(path, lazily=False)}
    assert eager == {"engine/cpu_worker.py", "engine/scheduling.py"}  # which vLLM itself imports, and nobody else
    for name in ("cpu_worker", "scheduling"):
        texts = [path.read_text() for path in every]
        assert not [text for text in texts if f"from engine.{name}" in text or f"import {name}" in text]
