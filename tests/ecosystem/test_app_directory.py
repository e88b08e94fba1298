"""What the CLAMS app directory asks of an app that is submitted to it, done as its registration does it."""

import importlib.metadata
import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from clams.appmetadata import AppMetadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def with_all_it_needs(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it depends on, extras left out."""
    spelt = name.lower().replace("_", "-")
    if spelt not in found:
        found.add(spelt)
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                with_all_it_needs(needed.name, found)
    return found


@pytest.fixture(scope="module")
def sdk_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds the SDK, what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("sdk")
    for name in with_all_it_needs("clams-python", set()):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(distribution.locate_file(top)))
    return folder


def metadata_py(packages: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run metadata.py without this environment's packages, but for those in ``packages``."""
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)}
    command = [sys.executable, "-S", "metadata.py"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def published(sdk_alone: Path) -> dict[str, Any]:
    """The metadata as the directory would publish it."""
    done = metadata_py(sdk_alone, CLAMS_APP_VERSION="v9.9")
    assert done.returncode == 0, done.stderr
    assert not (sdk_alone / "pydantic_settings").exists()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_version_of_the_sdk_is_found_where_registration_looks_for_it() -> None:
    look = "grep clams-python requirements.* | sort -r | head -n1"
    found = subprocess.run(look, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert found == f"clams-python=={importlib.metadata.version('clams-python')}"


def test_metadata_is_the_same_with_the_sdk_alone(published: dict[str, Any]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "CAPTIONER_MODEL"} | {"CLAMS_APP_VERSION": "v9.9"}
    done = subprocess.run([sys.executable, "metadata.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout) == published


def test_metadata_fits_the_sdks_schema(published: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(AppMetadata.model_json_schema()).validate(published)
    AppMetadata.model_validate(published)
    with pytest.raises(jsonschema.ValidationError, match="app_license"):
        jsonschema.validate({k: v for k, v in published.items() if k != "app_license"}, AppMetadata.model_json_schema())


def test_identifier_and_links(published: dict[str, Any]) -> None:
    """The directory files an app under the last two parts of its identifier, and links to the tag's source tree."""
    name, version = published["identifier"].split("/")[-2:]
    assert (name, version) == ("smolvlm2-captioner", published["app_version"])
    assert re.fullmatch(r"https://github\.com/clamsproject/app-[a-z0-9-]+", published["url"])


def test_descriptions_are_text_that_its_pages_can_show(published: dict[str, Any]) -> None:
    """They go into Markdown through string.Template, whose placeholders begin with a dollar sign."""
    texts = [published["description"], *(parameter["description"] for parameter in published["parameters"])]
    assert all(text.strip() and string.Template(text).substitute() == text for text in texts)
    assert all("|" not in text and "\n" not in text for text in texts[1:])  # a table's row each


def test_a_tag_is_published() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    assert workflow[True]["push"]["tags"] == ["v*"]  # YAML reads `on` as a truth value
    image, registered = workflow["jobs"]["publish-image"], workflow["jobs"]["register-appdir"]
    assert image["uses"].startswith("clamsproject/.github/.github/workflows/app-container.yml@")
    assert registered["uses"].startswith("clamsproject/apps/.github/workflows/register.yml@")
    assert set(registered["needs"]) >= {"publish-image"}
    assert set(registered["with"]) == {"repo", "tag", "container"}


@pytest.mark.parametrize(
    "name", ["LICENSE", "NOTICE", "README.md", "Containerfile", "CHANGELOG.md", "cli.py", "app.py"]
)
def test_what_an_app_repository_holds(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_the_readme_links_to_the_general_instructions() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "https://apps.clams.ai/clamsapp" in readme
    headings = re.findall(r"^#+ (.*)$", readme, re.MULTILINE)
    assert [h for h in headings if h in TEMPLATE] == TEMPLATE


TEMPLATE = ["Description", "User instruction", "System requirements", "Configurable runtime parameter"]
