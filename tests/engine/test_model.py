"""Which folders can be run, and how what runs is named."""

import json
import shutil
from pathlib import Path

import pytest

from configuration import SettingsError
from engine.model import PINNED, model_in
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


@pytest.mark.parametrize("name", ["smolvlm3", "/nowhere/at/all"])
def test_what_is_neither_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="CAPTIONER_MODEL"):
        choose(name)
