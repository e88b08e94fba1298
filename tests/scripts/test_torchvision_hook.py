"""The repair of a torchvision that cannot load its compiled half: stand-ins for torchvision beside the real torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import packages
from scripts.commands import Project

ROOT = Path(__file__).parents[2]
ASKS = (
    "import torch\nfor name in ('nms', 'qnms'): torch.library.register_fake(f'torchvision::{name}')(lambda *_: None)\n"
)
DEFINES = (
    "import torch\n"
    "library = torch.library.Library('torchvision', 'DEF')\n"
    "for name in ('nms', 'qnms'): library.define(f'{name}(Tensor boxes) -> Tensor')\n"
)


def torchvision_stand_in(folder: Path, compiled_half: str) -> Path:
    """A torchvision that first loads its compiled half, then decorates two operators, in torchvision's own order."""
    package = folder / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import extension\nfrom torchvision import _meta_registrations\n")
    (package / "extension.py").write_text(compiled_half)
    (package / "_meta_registrations.py").write_text(ASKS)
    return folder


def run(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` with `path` before the packages of this environment and without a hook that it may have."""
    unhooked = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if f.__module__ != 'torchvision_cpu_ops']\n"
    forget = "sys.modules.pop('torchvision_cpu_ops', None)\n"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-c", unhooked + forget + code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_without_the_compiled_half(tmp_path: Path) -> None:
    stand_in = torchvision_stand_in(tmp_path, "")
    bare = run("import torchvision", stand_in)
    assert "operator torchvision::nms does not exist" in bare.stderr
    repaired = run("import torchvision_cpu_ops, torchvision; print(torchvision.__path__)", stand_in, ROOT / "scripts")
    assert repaired.returncode == 0, repaired.stderr
    assert str(stand_in) in repaired.stdout


def test_beside_the_compiled_half(tmp_path: Path) -> None:
    """A torchvision that loads finds its operators its own."""
    stand_in = torchvision_stand_in(tmp_path, DEFINES)
    result = run("import torchvision_cpu_ops as hook, torchvision; print(hook._libraries)", stand_in, ROOT / "scripts")
    assert result.stdout == "[]\n", result.stderr


def test_it_costs_nothing_until_asked() -> None:
    result = run("import torchvision_cpu_ops, json; print('torch' in sys.modules)", ROOT / "scripts")
    assert result.stdout == "False\n", result.stderr


def test_many_threads_import_at_once(tmp_path: Path) -> None:
    stand_in = torchvision_stand_in(tmp_path, "")
    code = (
        "import torchvision_cpu_ops as hook\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: print(len(set(pool.map(__import__, ['torchvision'] * 8))))\n"
        "print(len(hook._libraries))\n"
    )
    result = run(code, stand_in, ROOT / "scripts")
    assert result.stdout == "1\n1\n", result.stderr


def test_the_real_torchvision_imports_in_a_spawned_child() -> None:
    code = (
        "import multiprocessing\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(eval, ['__import__(\"torchvision\").__version__']))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.startswith("0."), result.stderr


@pytest.mark.parametrize(("broken", "expected"), [("torchvision\n", True), ("\n", False)])
def test_it_is_put_in_only_where_torchvision_fails(
    broken: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path)
    folder = project.site_packages
    folder.mkdir(parents=True)
    (folder / "torchvision_cpu_ops.pth").write_text("import torchvision_cpu_ops\n")
    (folder / "torchvision_cpu_ops.py").write_text("an older one")
    monkeypatch.setattr(packages, "run_in_venv", lambda *_: broken)
    with (tmp_path / "log").open("w") as log:
        packages.repair(project, log)
    assert (folder / "torchvision_cpu_ops.pth").exists() == expected
    if expected:
        source = (ROOT / "scripts" / "torchvision_cpu_ops.py").read_text()
        assert (folder / "torchvision_cpu_ops.py").read_text() == source
