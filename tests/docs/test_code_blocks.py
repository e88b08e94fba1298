"""
Every shell command that the documentation shows is run, as it is written there.

The blocks of a page run one after the other in a folder that looks like a checkout and holds the ``input.mmif`` of a
synthetic broadcast. What they start runs the demonstration model; who asks ``localhost:5000`` asks a server of this
session's engine.
"""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from mmif import DocumentTypes

from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.captions import caption_views, captions
from tests.docs.code_blocks import PAGES, ROOT, Block, blocks

ADDRESS = "localhost:5000"  # what the documentation calls the server
PRIVATE = {"build", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}


@pytest.fixture
def server(url: str) -> str:
    """Host and port of a server with the session's engine."""
    return url.removeprefix("http://")


@pytest.fixture
def checkout(tmp_path: Path, broadcast: Broadcast) -> Path:
    """A folder that looks like a checkout; what is written to it stays in it."""
    for entry in ROOT.iterdir():
        if entry.name not in PRIVATE:
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "build").mkdir()
    (tmp_path / "input.mmif").write_text(swt_mmif(broadcast))
    return tmp_path


def run(block: Block, checkout: Path, server: str) -> None:
    """Run a block in a shell that stops at the first command that fails."""
    code = block.code.replace(ADDRESS, server)
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.place}: exit code {done.returncode}\n{code}\n{done.stdout}\n{done.stderr}"


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh" and not block.not_run]


@pytest.mark.parametrize("page", [p for p in PAGES if shell_blocks(p)], ids=lambda page: page.name)
def test_the_commands_of_a_page(page: Path, checkout: Path, server: str) -> None:
    for block in shell_blocks(page):
        run(block, checkout, server)


def test_the_readmes_captions_are_right(checkout: Path, server: str, broadcast: Broadcast) -> None:
    (posted,) = [block for block in shell_blocks(ROOT / "README.md") if "curl" in block.code]
    run(posted, checkout, server)
    found = captions((checkout / "output.mmif").read_text())
    assert found
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]


def test_the_slates_of_the_page_about_structure_are_valid_json(checkout: Path, server: str) -> None:
    posted = next(
        block for block in shell_blocks(ROOT / "docs" / "structured.md") if "outputSchema=slate" in block.code
    )
    run(posted, checkout, server)
    (view,) = caption_views((checkout / "slates.mmif").read_text())
    schema = json.loads(view.metadata.appConfiguration["outputSchema"])
    texts = list(view.get_annotations(DocumentTypes.TextDocument))
    whole = [text.text_value for text in texts if text.properties.get("mime") == "application/json"]
    assert whole
    for text in whole:
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_well_formed(page: Path) -> None:
    """A block names its language, and one of data can be read as such."""
    for block in blocks(page):
        assert block.language in ("sh", "text", "json", "yaml", "python", "ini"), f"{block.place}: which language?"
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.code))
        elif block.language == "python":
            compile(block.code, block.place, "exec")


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    with pytest.raises(AssertionError, match=r"README\.md:7: exit code 1"):
        run(Block(page, 7, "sh", "false\ntrue\n", ""), tmp_path, "")
    with pytest.raises(AssertionError, match="exit code 7"):  # nobody listens at port 1
        run(Block(page, 7, "sh", f"curl --silent http://{ADDRESS}/health/live | cat\n", ""), tmp_path, "127.0.0.1:1")


def test_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n```sh\none\n```\n\n<!-- not run: it has a reason -->\n```sh\ntwo\n```\n\n"
        "1. Item\n\n   <!-- not run: another -->\n   ```sh\n   three\n   ```\n"
    )
    found = [(block.line, block.code, block.not_run) for block in blocks(page)]
    assert found == [(4, "one\n", ""), (9, "two\n", "it has a reason"), (16, "three\n", "another")]


@pytest.mark.parametrize("after", ["Text.\n\n```sh\none\n```\n", "```json\n{}\n```\n"])
def test_a_marker_without_its_block_is_refused(after: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"<!-- not run: it has a reason -->\n\n{after}")
    with pytest.raises(ValueError, match=r"nothing to run|not a block of sh"):
        list(blocks(page))
