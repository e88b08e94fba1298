"""What is installed into ``.venv``: the locked packages, and the repair of those that don't load."""

import http.client
import platform
import re
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TextIO

from scripts.commands import ROOT, Project, pip, run_in_venv, say

REQUIREMENTS = {"cpu": "requirements-cpu.txt", "cuda": "requirements.txt"}
FOR_TESTS = ("dev", "files")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # PyPI has no CPU builds of torch
AUDIO = ("torchcodec", "torchaudio")  # vLLM asks for them, and does without where they are absent
HOOK = "torchvision_cpu_ops"


def locks(project: Project, flavour: str) -> list[str]:
    """The lock files to install, from the project's root."""
    return [f"locks/{name}.txt" for name in (flavour, *(FOR_TESTS if project.tests else ()))]


def install(project: Project, flavour: str, log: TextIO) -> None:
    """Have pip install what the locks hold, and nothing that is not the very file they were made from."""
    wanted = ["install", "--progress-bar", "off", *extra_index(flavour)]
    files = locks(project, flavour)
    if all(is_for_this_python(project.root / file) for file in files):
        pip([*wanted, "--no-deps", "--require-hashes", *(o for file in files for o in ("-r", file))], project, log)
        return
    say(f"{files[0]} is not for this Python: installing its versions, without comparing the files' hashes")
    versions = project.root / "build" / "versions.txt"
    versions.write_text("\n".join(pins((project.root / files[0]).read_text())))
    named = [REQUIREMENTS[flavour], *(["requirements-dev.txt"] if project.tests else [])]
    pip([*wanted, "--constraint", str(versions), *(o for file in named for o in ("-r", file))], project, log)
    if project.tests:
        pip([*wanted, "--no-deps", "-r", "requirements-files.txt"], project, log)


def is_for_this_python(lock: Path) -> bool:
    """Whether the first line of ``lock`` names this Python and machine."""
    words = re.findall(r"\w+(?:\.\d+)?", lock.read_text().partition("\n")[0])
    return f"{sys.version_info[0]}.{sys.version_info[1]}" in words and platform.machine() in words


def pins(text: str) -> list[str]:
    """The ``name==version`` of each package of a lock or requirements file, sorted, names as PyPI writes them."""
    found = []
    for line in text.splitlines():
        name, equals, rest = line.partition("==")
        if equals and name[0] not in "# -":
            bare = name.partition("[")[0]  # a lock has what an extra brings as packages of their own
            found.append(f"{bare.lower().replace('_', '-')}=={rest.split()[0]}")
    return sorted(found)


def extra_index(flavour: str) -> list[str]:
    """pip's option for PyTorch's index where that is needed and answers: it would ask a dead one at every package."""
    if flavour != "cpu":
        return []
    if answers(TORCH_INDEX):
        return ["--extra-index-url", TORCH_INDEX]
    say(f"{TORCH_INDEX} does not answer: going on without it")
    return []


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
    audio = [name for name in AUDIO if name in broken and any(project.site_packages.glob(f"{name}-*.dist-info"))]
    if audio:
        say(f"removing {' and '.join(audio)}: they do not load here, and only audio needs them")
        pip(["uninstall", "--yes", *audio], project, log)
    hook = project.site_packages / f"{HOOK}.py"
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
