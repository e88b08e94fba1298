"""The deployment files: well-formed, and in step with the settings and the endpoints that they speak of."""

import argparse
import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from clams.appmetadata import unresolved_app_version_num

from app import SETTINGS, SmolVLM2Captioner
from scripts.packages import REQUIREMENTS
from serving.front import restified
from serving.settings import ServingSettings

DEPLOY = Path(__file__).parent.parent / "deploy"
GRACE = ServingSettings.model_fields["grace_seconds"].default
END = 30  # seconds that the engine may take to end, once the calls are done (engine/generation.py)
VARIABLES = {row.variable for settings in SETTINGS for row in settings.rows()}


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tag, too."""


_Loader.add_constructor("!reset", lambda loader, node: None)


def _seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """Where the server answers."""
    return {rule.rule for rule in restified(SmolVLM2Captioner()).flask_app.url_map.iter_rules()}


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    class _Unit(configparser.RawConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr

    parsed = _Unit(strict=False)  # `Environment` may stand there more than once
    parsed.read(DEPLOY / "systemd" / "smolvlm2-captioner.service")
    return parsed


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.load((DEPLOY / "compose.yaml").read_text(), _Loader)["services"]["captioner"]


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The manifest's objects by their kind."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def test_systemd_starts_the_app_as_its_command_line_is(unit: configparser.ConfigParser) -> None:
    python, script, *flags = unit["Service"]["ExecStart"].split()
    assert python.startswith(unit["Service"]["WorkingDirectory"])
    assert script == "app.py"
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--port", type=int)
    parser.add_argument("--production", action="store_true")
    for settings in SETTINGS:
        settings.add_flags(parser)
    assert parser.parse_args(flags).production


def test_systemd_waits_for_the_calls_and_the_engine(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) >= GRACE + END
    assert service["KillMode"] == "mixed"  # a SIGTERM of its own would end the engine under its calls
    assert service["OOMPolicy"] == "continue"  # or the death of the engine's process would end the server
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")


def test_compose_waits_for_the_calls_and_the_engine(compose: Any) -> None:
    assert compose["environment"]["CAPTIONER_GRACE_SECONDS"] == GRACE
    assert _seconds(compose["stop_grace_period"]) >= GRACE + END


def test_compose_asks_an_endpoint_that_is_there(compose: Any, paths: set[str]) -> None:
    (asked,) = re.findall(r"http://127\.0\.0\.1:5000(/[a-z/]+)", " ".join(compose["healthcheck"]["test"]))
    assert asked in paths


def test_compose_runs_as_nobody_in_particular_beside_what_it_reads(compose: Any) -> None:
    assert not compose["user"].endswith(":0}")
    assert "cache:/cache" in compose["volumes"]
    assert any(volume.endswith(":/data:ro") for volume in compose["volumes"])
    (device,) = compose["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_an_image_always_has_a_version(compose: Any) -> None:
    """The SDK's word for one that is not known, where nobody says it: the app's identifier must not end without."""
    assert compose["build"]["args"] == {"CLAMS_APP_VERSION": f"${{CLAMS_APP_VERSION:-{unresolved_app_version_num}}}"}
    image = (DEPLOY.parent / "Containerfile").read_text()
    assert f"\nENV CLAMS_APP_VERSION=${{CLAMS_APP_VERSION:-{unresolved_app_version_num}}}\n" in image


def test_the_commands_that_build_an_image_say_its_version() -> None:
    places = [*(DEPLOY.parent / "docs").glob("*.md"), DEPLOY.parent / "README.md", DEPLOY / "compose.yaml"]
    lines = "\n".join(place.read_text() for place in places).replace("\\\n", " ").splitlines()
    building = [line for line in lines if re.search(r"docker build -f Containerfile|docker compose -f .* up", line)]
    assert len(building) == 5
    assert [line for line in building if "CLAMS_APP_VERSION=" not in line] == []


def test_compose_without_a_gpu_asks_for_none() -> None:
    over = yaml.load((DEPLOY / "compose.cpu.yaml").read_text(), _Loader)["services"]["captioner"]
    assert over["deploy"] is None
    assert over["build"]["args"] == {"FLAVOUR": "cpu"}
    assert (DEPLOY.parent / REQUIREMENTS["cpu"]).is_file()


def test_nobody_says_again_what_the_image_says(compose: Any, objects: dict[str, Any]) -> None:
    lines = (DEPLOY.parent / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    image = {name for line in lines if line.startswith("ENV ") for name in re.findall(r"(\w+)=", line)}
    assert {"HOME", "USER", "XDG_CACHE_HOME", "HF_HOME"} <= image
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    said = {
        *compose["environment"],
        *objects["ConfigMap"]["data"],
        *(each["name"] for each in container.get("env", ())),
    }
    assert said & image == set()


def test_every_setting_named_is_one(compose: Any, objects: dict[str, Any]) -> None:
    named = set(
        re.findall(r"CAPTIONER_[A-Z_]+[A-Z]", "\n".join(p.read_text() for p in DEPLOY.rglob("*") if p.is_file()))
    )
    assert named - VARIABLES == set()
    assert "CAPTIONER_GRACE_SECONDS" in named


def test_kubernetes_waits_for_the_calls_and_the_engine(objects: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _, before = container["lifecycle"]["preStop"]["exec"]["command"]
    assert objects["ConfigMap"]["data"]["CAPTIONER_GRACE_SECONDS"] == str(GRACE)
    assert pod["terminationGracePeriodSeconds"] >= int(before) + GRACE + END


def test_kubernetes_adds_no_settings_by_the_names_of_services(objects: dict[str, Any]) -> None:
    assert objects["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_kubernetes_probes_endpoints_that_are_there(objects: dict[str, Any], paths: set[str]) -> None:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    probes = {name: container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= paths
    assert probes["livenessProbe"]["httpGet"]["path"] == "/health/live"  # a restarting engine is no reason to kill
    assert probes["startupProbe"]["failureThreshold"] * probes["startupProbe"]["periodSeconds"] >= 30 * 60
    (port,) = container["ports"]
    assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]


def test_kubernetes_mounts_what_it_declares_and_runs_as_nobody_in_particular(objects: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert {"/cache", "/data", "/dev/shm", "/tmp"} == {mount["mountPath"] for mount in mounts.values()}
    assert mounts["data"]["readOnly"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] != 0
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
