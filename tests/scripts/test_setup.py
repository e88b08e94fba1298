"""The set-up step, on a project that needs one tiny package: what it builds, what it trusts, what it says."""

import ast
import hashlib
import http.server
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from scripts import build_venv, commands, packages, setup_venv
from scripts.build_venv import GB, digest, set_up
from scripts.commands import Project, SetupError

ROOT = Path(__file__).parents[2]
HERE = f"# For Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}."
SET_UP = """
import sys
from pathlib import Path
from scripts import build_venv
from scripts.commands import Project
build_venv.INSTALLED["cpu"] = build_venv.DOWNLOADED["cpu"] = 0
build_venv.set_up(Project(Path(sys.argv[1])), "cpu")
"""


def add_wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel of one module, for pip to find in `folder`."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def lock(root: Path, version: str, wheels: Path, *, header: str = HERE) -> None:
    """Lock the package `toy` of a project at `version`."""
    wheel = wheels / f"toy-{version}-py3-none-any.whl"
    known = hashlib.sha256(wheel.read_bytes() if wheel.exists() else b"").hexdigest()
    (root / "locks" / "cpu.txt").write_text(f"{header}\ntoy=={version} \\\n    --hash=sha256:{known}\n")


def lay_out(root: Path, wheels: Path) -> Project:
    """A project whose engine is the package `toy`."""
    (root / "scripts").mkdir(parents=True)
    (root / "locks").mkdir()
    lock(root, "1.0", wheels)
    for name in ("dev", "files"):
        (root / "locks" / f"{name}.txt").write_text(f"{HERE}\n")
    (root / "scripts" / "check_imports.py").write_text("import sys\nif not sys.argv[1:]:\n    import toy\n")
    (root / "requirements-cpu.txt").write_text("# the engine\ntoy==1.0\n")
    (root / "requirements.txt").write_text("toy==1.0\n")
    (root / "requirements-dev.txt").write_text("")
    (root / "requirements-files.txt").write_text("")
    return Project(root)


def confine(patch: pytest.MonkeyPatch, wheels: Path) -> None:
    """Have pip find nothing but `wheels`, and the set-up need no space."""
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(wheels))
    patch.setattr(build_venv, "INSTALLED", {"cpu": 0, "cuda": 0})
    patch.setattr(build_venv, "DOWNLOADED", {"cpu": 0, "cuda": 0})


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        add_wheel(folder, "toy", version)
    return folder


@pytest.fixture(autouse=True)
def confined(monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    confine(monkeypatch, wheels)


@pytest.fixture
def project(tmp_path: Path, wheels: Path) -> Project:
    """A project that nobody has set up."""
    return lay_out(tmp_path / "new", wheels)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Project:
    """A project that was set up, to copy: making a virtual environment takes seconds."""
    project = lay_out(tmp_path_factory.mktemp("template") / "project", wheels)
    with pytest.MonkeyPatch.context() as patch:
        confine(patch, wheels)
        set_up(project, "cpu")
    return project


@pytest.fixture
def finished(template: Project, tmp_path: Path) -> Project:
    """A project that was set up, with a file in its ``.venv`` that a rebuilt one would not have."""
    project = Project(tmp_path / "finished")
    shutil.copytree(template.root, project.root, symlinks=True)
    project.stamp.write_text(digest(project, "cpu"))
    witness(project).touch()
    return project


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def witness(project: Project) -> Path:
    return project.venv / "witness"


def toy_version(project: Project) -> str:
    command = [project.python, "-c", "import toy; print(toy.version)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def is_set_up(project: Project) -> bool:
    return build_venv.is_done(project, digest(project, "cpu"))


def test_a_new_venv_is_stamped_and_works(template: Project) -> None:
    assert is_set_up(template)
    assert toy_version(template) == "1.0"


def test_nothing_changed_nothing_done(
    finished: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    set_up(finished, "cpu")
    assert capsys.readouterr().out == ""


def test_a_changed_lock_is_followed_in_place(finished: Project, wheels: Path) -> None:
    lock(finished.root, "2.0", wheels)
    assert not is_set_up(finished)
    set_up(finished, "cpu")
    assert is_set_up(finished)
    assert toy_version(finished) == "2.0"
    assert witness(finished).exists()


def test_a_venv_made_by_hand_is_completed(finished: Project) -> None:
    finished.stamp.unlink()
    shutil.rmtree(finished.site_packages / "toy-1.0.dist-info")
    set_up(finished, "cpu")
    assert is_set_up(finished)
    assert witness(finished).exists()


def test_an_interrupted_venv_is_not_trusted(finished: Project) -> None:
    """Not even with a right stamp; `test_killed_in_the_middle` sees it made anew."""
    finished.unfinished.touch()
    assert not is_set_up(finished)
    assert not build_venv.is_sound(finished, "cpu")


def test_what_does_not_fit_is_not_kept(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_venv.is_sound(finished, "cpu")
    other_engine = finished.site_packages / "vllm-0.32.0.dist-info"
    other_engine.mkdir()
    assert not build_venv.is_sound(finished, "cpu")
    assert build_venv.is_sound(finished, "cuda")
    monkeypatch.setattr(sys, "version", "3.11.99 (another build)")
    assert not build_venv.is_sound(finished, "cuda")


def test_the_stamp_depends_on_all_that_matters(
    finished: Project, monkeypatch: pytest.MonkeyPatch, wheels: Path
) -> None:
    elsewhere = lay_out(finished.root.parent / "elsewhere", wheels)
    digests = [
        digest(project, flavour) for project, flavour in ((finished, "cpu"), (finished, "cuda"), (elsewhere, "cpu"))
    ]
    digests.append(digest(Project(finished.root, tests=False), "cpu"))
    lock(finished.root, "2.0", wheels)
    digests.append(digest(finished, "cpu"))
    monkeypatch.setattr(sys, "version", "3.11.99 (another build)")
    digests.append(digest(finished, "cpu"))
    assert len(set(digests)) == len(digests)


def test_killed_in_the_middle(project: Project, monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    """SIGKILL takes pip along; the next set-up trusts nothing of what it finds, and ends well."""
    with socket.create_server(("127.0.0.1", 0)) as index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        with subprocess.Popen([sys.executable, "-c", SET_UP, project.root], cwd=ROOT) as killed:
            pip, _ = index.accept()
            with pip:
                assert pip.recv(4096).startswith(b"GET ")
                killed.send_signal(signal.SIGKILL)
                assert not pip.recv(4096)  # it hung up, though nobody answered
    assert not is_set_up(project)
    witness(project).touch()

    confine(monkeypatch, wheels)
    set_up(project, "cpu")
    assert is_set_up(project)
    assert not witness(project).exists()


def test_two_at_once_take_turns(finished: Project) -> None:
    finished.stamp.unlink()
    with build_venv.only_one(finished):
        command = [sys.executable, "-c", SET_UP, finished.root]
        second = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == "set-up: waiting for another set-up to end\n"
        finished.stamp.write_text(digest(finished, "cpu"))
    out, _ = second.communicate()
    assert out.startswith("set-up: ready")
    assert witness(finished).exists()


def test_no_network(finished: Project, monkeypatch: pytest.MonkeyPatch, closed_port: int, wheels: Path) -> None:
    lock(finished.root, "2.0", wheels)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port}/")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SetupError, match=r"^the package index cannot be reached: check the network[^\n]*$"):
        set_up(finished, "cpu")
    assert not is_set_up(finished)


def test_a_new_venv_that_fails_is_not_left_lying(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_venv, "PYTHON", shutil.which("false"))
    with pytest.raises(SetupError, match=r"^python -m venv failed: no reason given"):
        set_up(project, "cpu")
    assert not list(project.venv.iterdir())


def test_a_failed_update_is_not_trusted(finished: Project, wheels: Path) -> None:
    lock(finished.root, "3.0", wheels)
    with pytest.raises(SetupError, match=r"^pip failed: ERROR: No matching distribution found for toy==3.0 [^\n]*$"):
        set_up(finished, "cpu")
    assert finished.unfinished.exists()


def test_imports_that_fail_are_not_stamped_and_not_paid_for_twice(finished: Project) -> None:
    finished.stamp.unlink()
    check = finished.root / "scripts" / "check_imports.py"
    works = check.read_text()
    check.write_text(works + "    raise ImportError('libGL.so.1 is missing')\n")
    with pytest.raises(SetupError, match=r"^the engine's imports do not work: ImportError: libGL.so.1 is missing "):
        set_up(finished, "cpu")
    assert not is_set_up(finished)
    check.write_text(works)
    set_up(finished, "cpu")
    assert is_set_up(finished)
    assert witness(finished).exists()


def test_too_small_a_disk(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_venv, "INSTALLED", {"cpu": 10**6 * GB})
    with pytest.raises(SetupError, match=r"^the disk is full: \S+ has [\d.]+ GB free, 1000000 GB are needed$"):
        set_up(project, "cpu")
    assert not project.venv.exists()


def test_disk_full_in_the_middle() -> None:
    output = (
        "Collecting torch\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    )
    assert commands.explain(output, "pip failed").startswith("the disk is full: ")


def test_a_hiccup_of_the_network_is_not_the_reason() -> None:
    output = (
        "WARNING: Retrying after NewConnectionError\n" + "Collecting more\n" * 20 + "ERROR: Cannot install a and b\n"
    )
    assert commands.explain(output, "pip failed") == "pip failed: ERROR: Cannot install a and b (see build/setup.log)"


def test_no_venv_module(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_venv, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(SetupError, match="has no venv module: install python3-venv"):
        set_up(project, "cpu")


@pytest.mark.parametrize(
    ("version", "supported"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_supported_pythons(
    version: tuple[int, int], supported: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 1))
    monkeypatch.setattr(build_venv, "main", lambda arguments: 0)
    assert setup_venv.main() == (0 if supported else 1)
    told = capsys.readouterr().err
    assert bool(told) != supported
    assert re.fullmatch(r"(set-up failed: this is Python 3\.1[05] and vLLM needs 3\.11 to 3\.14: [^\n]+\n)?", told)


def test_an_old_python_can_read_the_front_door() -> None:
    ast.parse((ROOT / "scripts" / "setup_venv.py").read_text(), feature_version=(3, 6))
    ast.parse((ROOT / "scripts" / "__init__.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("answer", "flavour"),
    [
        ("echo 'GPU 0: NVIDIA L4 (UUID: GPU-0)'", "cuda"),
        ("echo 'No devices were found'", "cpu"),
        ("echo 'Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error'; exit 15", "cpu"),
    ],
)
def test_flavour_by_driver(answer: str, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_venv, "DRIVER", (tmp_path / "version", tmp_path / "nvidiactl"))
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{answer}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert build_venv.detect_flavour() == flavour


def test_flavour_without_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = (tmp_path / "version", tmp_path / "nvidiactl")
    monkeypatch.setattr(build_venv, "DRIVER", driver)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_venv.detect_flavour() == "cpu"
    driver[0].touch()
    assert build_venv.detect_flavour() == "cpu"  # a container without the GPU of its host
    driver[1].touch()
    assert build_venv.detect_flavour() == "cuda"


def test_flavour_by_hand(project: Project) -> None:
    with pytest.raises(SetupError, match=r"^FLAVOUR is 'gpu': it can be cpu or cuda$"):
        set_up(project, "gpu")


def test_an_extra_index_is_left_out_where_it_does_not_answer(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "TORCH_INDEX", f"http://127.0.0.1:{closed_port}/whl")
    assert packages.extra_index("cpu") == []

    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        url = f"http://127.0.0.1:{server.server_port}/whl"  # answers 501: somebody is there
        monkeypatch.setattr(packages, "TORCH_INDEX", url)
        assert packages.extra_index("cpu") == ["--extra-index-url", url]
        answering.join()
    assert packages.extra_index("cuda") == []


def test_a_file_that_is_not_the_locked_one_is_refused(finished: Project, wheels: Path) -> None:
    lock(finished.root, "2.0", wheels)
    file = finished.root / "locks" / "cpu.txt"
    file.write_text(file.read_text().replace("sha256:", "sha256:0")[:-2] + "\n")
    with pytest.raises(SetupError, match=r"^pip failed: "):
        set_up(finished, "cpu")
    assert "DO NOT MATCH THE HASHES" in finished.log.read_text()
    assert toy_version(finished) == "1.0"


def test_another_python_gets_the_locked_versions_unchecked(
    finished: Project, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished.root / "requirements-cpu.txt").write_text("toy\n")  # of which 2.0 is the newest
    lock(finished.root, "1.0", wheels, header="# For Python 3.99 on x86_64.")
    shutil.rmtree(finished.site_packages / "toy-1.0.dist-info")
    set_up(finished, "cpu")
    assert "locks/cpu.txt is not for this Python" in capsys.readouterr().out
    assert toy_version(finished) == "1.0"
