"""The sign on the door: what callers of the incumbent's v1.1 rely on, and how fast it is read."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROMPT = (
    "You are looking at one or more frames sampled from a single segment of a news video. Describe what is shown, the "
    "purpose of this segment in the broader news video, and transcribe any visible text. Produce one consolidated "
    "caption across all provided frames."
)
MODEL = "HuggingFaceTB/SmolVLM2-2.2B-Instruct"

# name: type, default, multivalued, choices
V1_1: dict[str, tuple[str, Any, bool, list[Any] | None]] = {
    "tfLabels": ("string", [], True, None),
    "prompt": ("string", PROMPT, True, None),
    "systemPrompt": ("string", "", False, None),
    "promptMode": ("string", "turn-taking", False, ["user-only", "turn-taking"]),
    "maxNewTokens": ("integer", 200, False, None),
    "useReasoning": ("boolean", False, False, None),
    "temperature": ("number", 0, False, None),
    "topP": ("number", 1, False, None),
    "topK": ("integer", 50, False, None),
    "parallelPrompts": ("integer", 1, False, None),
    "model": ("string", MODEL, False, [MODEL]),
    "pretty": ("boolean", False, False, None),
    "runningTime": ("boolean", True, False, None),
    "hwFetch": ("boolean", False, False, None),
    "tfSamplingMode": ("string", "representatives", False, ["representatives", "single", "all"]),
}


def read(**environment: str) -> dict[str, Any]:
    code = "import sys, runpy; runpy.run_path('metadata.py', run_name='__main__');"
    code += "assert not {'torch', 'vllm', 'transformers', 'cv2'} & set(sys.modules), 'metadata.py must stay light'"
    path = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=path | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return read(CLAMS_APP_VERSION="v9")


@pytest.mark.parametrize("name", V1_1)
def test_parameter_is_as_in_v1_1(published: dict[str, Any], name: str) -> None:
    parameter = next(p for p in published["parameters"] if p["name"] == name)
    expected = V1_1[name]
    assert (parameter["type"], parameter["default"], parameter["multivalued"]) == expected[:3]
    assert parameter.get("choices") == expected[3]
    assert parameter["description"]


def test_parameters_beyond_v1_1_have_defaults(published: dict[str, Any]) -> None:
    added = [p for p in published["parameters"] if p["name"] not in V1_1]
    assert {"maxImagesPerPrompt", "imagesPerPromptMode"} <= {p["name"] for p in added}
    assert all("default" in p and p["description"] for p in added)


def test_identity(published: dict[str, Any]) -> None:
    version = subprocess.run(["git", "describe", "--tags", "--always"], cwd=ROOT, capture_output=True, text=True).stdout
    assert published["app_version"] == (version.strip() or "v9")  # outside of a checkout, what the environment says
    assert published["identifier"] == "http://apps.clams.ai/smolvlm2-captioner/" + published["app_version"]
    expected = {
        "name": "SmolVLM2 Captioner",
        "app_license": "Apache 2.0",
        "analyzer_license": "Apache 2.0",
        "analyzer_versions": {MODEL: "482adb5"},
        "est_gpu_mem_min": 5000,
        "est_gpu_mem_typ": 7000,
        "url": "https://github.com/clamsproject/app-smolvlm2-captioner",
    }
    assert {key: published[key] for key in expected} == expected


def test_input_and_output(published: dict[str, Any]) -> None:
    vocabulary = "http://clams.ai/vocabulary/type/"
    inputs = [(i["@type"], i.get("properties", {}), i["required"]) for i in published["input"]]
    assert inputs == [
        (vocabulary + "VideoDocument/v2", {}, True),
        (vocabulary + "TimeFrame/v6", {"representatives": "?", "label": "*"}, True),
    ]
    outputs = [(o["@type"], o.get("properties", {})) for o in published["output"]]
    assert outputs == [
        (vocabulary + "TextDocument/v2", {"origins": "*", "origination": "derived"}),
        (vocabulary + "Alignment/v1", {}),
        (vocabulary + "TimePoint/v5", {"timeUnit": "milliseconds", "timePoint": "*"}),
    ]


def test_a_local_model_is_named_with_a_hash_of_its_content() -> None:
    demo = read(CAPTIONER_MODEL="demo")
    (model,) = demo["analyzer_versions"].items()
    assert model[0] == "demo"
    assert len(model[1]) == 12
    parameter = next(p for p in demo["parameters"] if p["name"] == "model")
    assert (parameter["choices"], parameter["default"]) == (["demo"], "demo")
