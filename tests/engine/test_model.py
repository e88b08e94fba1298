"""Which folders can be run, and how what runs is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from configuration import SettingsError
from engine.errors import EngineStartError
from engine.model import PINNED, fetch, model_in
from models import DEMO, choose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "my-smolvlm"))


def test_the_default_is_pinned() -> None:
    assert choose("HuggingFaceTB/SmolVLM2-2.2B-Instruct") == PINNED
    assert PINNED.record == "HuggingFaceTB/SmolVLM2-2.2B-Instruct@482adb5"
    assert PINNED.folder is None


def test_a_folder_is_named_by_its_content(folder: Path) -> None:
    first = choose(str(folder))
    assert (first.id, first.folder) == ("my-smolvlm", folder)
    assert first.revision == choose("demo").revision  # the same content
    copy = shutil.copytree(folder, folder.parent / "copy")
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert model_in(Path(copy)).revision != first.revision


def test_an_incomplete_folder_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SettingsError, match=r"CAPTIONER_MODEL .*my-smolvlm .* lacks tokenizer\.json"):
        choose(str(folder))


def test_another_architecture_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(SettingsError, match=r"LlamaForCausalLM.* this app runs SmolVLMForConditionalGeneration"):
        choose(str(folder))


def test_a_folder_is_taken_as_it_is(folder: Path) -> None:
    assert fetch(model_in(folder)) == folder


def test_the_pinned_checkpoint_comes_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def download(repository: str, **options: Any) -> str:
        asked[repository] = options["revision"]
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch(PINNED) == tmp_path
    assert asked == {"HuggingFaceTB/SmolVLM2-2.2B-Instruct": "482adb5"}


@pytest.mark.parametrize(("error", "reason"), [(OSError("no route\nmore"), "no route"), (OSError(), "OSError")])
def test_weights_that_are_not_to_be_had_are_named(monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str) -> None:
    def download(*_: str, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        FileNotFoundError, match=rf"SmolVLM2-2\.2B-Instruct@482adb5 are not in the cache .*\({reason}\)"
    ):
        fetch(PINNED)


def test_a_start_that_failed_is_put_in_words() -> None:
    assert str(EngineStartError.of(FileNotFoundError("The weights are not there"))).startswith(
        "The weights are not there. Set CAPTIONER_MODEL (--model-path) to a folder that holds the checkpoint"
    )
    assert str(EngineStartError.of(MemoryError("no room"))) == "The engine did not start: MemoryError: no room"


@pytest.mark.parametrize("name", ["smolvlm3", "/nowhere/at/all"])
def test_what_is_neither_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="CAPTIONER_MODEL"):
        choose(name)
