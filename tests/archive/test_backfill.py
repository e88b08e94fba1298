"""The backfill on the session's engine: what is done, what is left alone, and what is said of the rest."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec import filesystem

import backfill
from app import SmolVLM2Captioner
from archive.ledger import Ledger
from archive.plan import read_plan
from demo.annotations import swt_mmif
from demo.broadcast import Broadcast
from tests.archive.archives import PLAN, Run, make_archive, outputs, records
from tests.archive.servers import served
from tests.captions import captions, pass_by_pass, without_times


@pytest.fixture
def archive(tmp_path: Path, broadcast: Broadcast) -> list[str]:
    return make_archive(tmp_path / "in", broadcast, 6)


@pytest.fixture
def asked(captioner: SmolVLM2Captioner, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many prompts each call to the engine had."""
    seen: list[int] = []
    open_call = captioner.engine.open_call

    def noted(**options: Any) -> Any:
        call = open_call(**options)
        submit = call.submit_in_turn

        def submit_noted(requests: Any) -> Any:
            seen.append(len(requests))
            return submit(requests)

        call.submit_in_turn = submit_noted  # type: ignore[method-assign]
        return call

    monkeypatch.setattr(captioner.engine, "open_call", noted)
    yield seen


def test_every_file_in_all_passes_and_then_never_again(
    captioner: SmolVLM2Captioner, start: Run, archive: list[str], broadcast: Broadcast, asked: list[int]
) -> None:
    assert start() == 0
    assert list(outputs(Path("out"))) == archive
    known = {p.name: p for p in captioner.metadata.parameters}
    passes = read_plan(Path("plan.yaml"), {}, known, lambda given: captioner._refine_params(**given))
    for path in archive:
        given = {made.name: made.parameters for made in passes}
        made = Path("out", path).read_text()
        assert without_times(made) == pass_by_pass(captioner, Path("in", path).read_text(), given)
        record = records()[path]
        found = [caption for view in json.loads(made)["views"][2:] for caption in view["annotations"]]
        texts = [annotation for annotation in found if "TextDocument" in annotation["@type"]]
        assert (record.state, record.attempts, record.worker, record.cause) == ("done", 1, "local", None)
        assert (record.captions, record.prompts, record.time_frames, record.frames) == (len(texts), len(texts), 2, 2)
        assert record.completion_tokens and record.prompt_tokens and record.output_bytes == len(made)
    assert sum(asked) > len(asked)  # several prompts over the same frames went in together
    asked.clear()
    before = outputs(Path("out"))
    assert start() == 0
    assert asked == []
    assert outputs(Path("out")) == before
    assert {record.attempts for record in records().values()} == {1}


def test_what_has_changed_is_done_again_and_nothing_else(start: Run, archive: list[str], asked: list[int]) -> None:
    assert start() == 0
    os.utime(Path("in", archive[0]))  # touched, with the same content
    Path("in", archive[1]).write_text(Path("in", archive[1]).read_text() + "\n")
    Path("out", archive[2]).unlink()
    Path("out", archive[3]).write_text("{}")
    assert start() == 0
    assert {path for path, record in records().items() if record.attempts == 2} == set(archive[1:4])
    assert captions(Path("out", archive[3]).read_text())
    assert start("--temperature", "0") == 0  # the default
    assert start("--parallelPrompts", "3") == 0
    assert sum(record.attempts for record in records().values()) == 9
    assert start("--maxNewTokens", "150") == 0
    assert sum(record.attempts for record in records().values()) == 15
    assert start("--maxNewTokens", "150", "--force") == 0
    assert sum(record.attempts for record in records().values()) == 21


def test_a_ledger_with_digests_of_the_form_before_stays_as_it_is(
    start: Run, archive: list[str], asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    def age() -> None:
        with Ledger(Path("out")) as ledger:
            ledger._execute("UPDATE files SET parameters_digest = ?", ("ab" * 32,))

    assert start() == 0
    age()
    os.utime(Path("in", archive[0]))
    asked.clear()
    capsys.readouterr()
    assert start("--dry-run") == 0
    assert re.search("Done already +│ +6 │", capsys.readouterr().out)
    assert start() == 0
    assert asked == []
    assert {str(record.parameters_digest)[:2] for record in records().values()} == {"2:"}
    age()
    assert start("--maxNewTokens", "150") == 0
    assert {record.attempts for record in records().values()} == {2}


def test_inputs_and_videos_by_url_make_the_same_archive(
    start: Run, archive: list[str], broadcast: Broadcast, tmp_path: Path, captioner: SmolVLM2Captioner
) -> None:
    store = filesystem("memory")
    store.put(str(broadcast.path), "/archive/video.mp4")
    here = f"file://{broadcast.path}"
    there = "memory://archive/video.mp4"
    try:
        assert start() == 0
        local = {path: text.replace(here, there) for path, text in outputs(Path("out")).items()}
        Path("out").rename("local")
        for path in archive:
            store.pipe(f"/archive/tapes/{path}", Path("in", path).read_text().replace(here, there).encode())
        store.pipe(
            "/archive/tapes/lost.mmif", Path("in", archive[0]).read_text().replace(here, there + ".lost").encode()
        )
        Path("list.txt").write_text("memory://archive/tapes/none.mmif\n")
        command = [
            "list.txt",
            "memory://archive/tapes",
            "out",
            "--plan",
            "plan.yaml",
            "--base",
            "memory://archive/tapes",
        ]
        assert backfill.main([*command, "--dry-run"]) == 0
        assert captioner.videos.held == 0
        assert backfill.main(command) == 4
        assert outputs(Path("out")) == local
        failed = {path: record for path, record in records().items() if record.state == "failed"}
        assert {path: record.cause for path, record in failed.items()} == {
            "lost.mmif": "captions",
            "none.mmif": "input",
        }
        assert "there is no file memory://archive/video.mp4.lost" in str(failed["lost.mmif"].error)
        assert records()[archive[1]].source == f"memory://archive/tapes/{archive[1]}"
        assert captioner.videos.held == broadcast.path.stat().st_size  # once for all
        store.pipe(f"/archive/tapes/{archive[0]}", store.cat(f"/archive/tapes/{archive[0]}") + b"\n")
        assert backfill.main(command) == 4
        again = {path for path, record in records().items() if record.attempts == 2}
        assert again == {archive[0]}
    finally:
        store.rm("/archive", recursive=True)


def test_what_is_wrong_with_a_file_is_recorded_and_the_rest_is_done(
    start: Run, archive: list[str], broadcast: Broadcast, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("in")
    good = folder.joinpath(archive[0]).read_text()
    (folder / "gone.mmif").symlink_to("nowhere")
    (folder / "json.mmif").write_text("{broken")
    (folder / "latin.mmif").write_bytes(b"\xe4")
    (folder / "other.mmif").write_text('{"a": 1}')
    (folder / "no video.mmif").write_text(json.dumps(json.loads(good) | {"documents": []}))
    (folder / "lost.mmif").write_text(good.replace(str(broadcast.path), "/lost/tape.mp4"))
    Path("out").mkdir()
    Path("out", "0").write_text("a file where a folder should be")
    assert start() == 4
    failed = {path: record for path, record in records().items() if record.state == "failed"}
    in_0 = {path: "output" for path in archive if path.startswith("0/")}
    assert {path: record.cause for path, record in failed.items()} == in_0 | {
        "gone.mmif": "input",
        "json.mmif": "mmif",
        "latin.mmif": "mmif",
        "other.mmif": "mmif",
        "no video.mmif": "mmif",
        "lost.mmif": "captions",
    }
    assert "gone.mmif can't be read: No such file" in str(failed["gone.mmif"].error)
    assert "no VideoDocument" in str(failed["no video.mmif"].error)
    assert 'Pass "first": None of the' in str(failed["lost.mmif"].error)
    assert "there is no file /lost/tape.mp4" in str(failed["lost.mmif"].error)
    done = [path for path in archive if path not in in_0]
    assert set(outputs(Path("out"))) == {*done, "0"}
    assert "lost.mmif" in capsys.readouterr().err
    assert start() == 4  # failed ones are left alone
    assert all(record.attempts == 1 for record in records().values())
    Path("out", "0").unlink()
    for name in ("gone", "json", "latin", "other", "no video", "lost"):
        (folder / f"{name}.mmif").unlink()
    (folder / "json.mmif").write_text(good)  # mended: its content has changed
    assert start("--retry-failed") == 0
    assert {path: record.attempts for path, record in records().items() if path in in_0} == dict.fromkeys(in_0, 2)
    assert set(outputs(Path("out"))) == {*archive, "json.mmif"}


def test_a_name_that_is_not_utf_8_fails_alone(
    captioner: SmolVLM2Captioner, start: Run, archive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in", archive[0]).rename(Path("in", os.fsdecode(b"0/\xe4.mmif")))
    assert start("--dry-run") == 0
    assert re.search("Files that can't be used +│ +1 │", capsys.readouterr().out)
    for _ in range(2):
        assert start() == 4
        assert set(outputs(Path("out"))) == set(archive[1:])
        failed = records()[r"0/\xe4.mmif"]
        assert (failed.state, failed.cause, failed.attempts) == ("failed", "input", 1)
        assert str(failed.error).endswith(r"in/0/\xe4.mmif can't be done: its name is not UTF-8; rename it.")
        assert failed.source.endswith(r"in/0/\xe4.mmif")
        assert r"0/\xe4.mmif: " in capsys.readouterr().err
    assert backfill.main(["status", "out", "--failed"]) == 0
    with served(captioner) as server:
        assert start("--server", server.url, "--retry-failed") == 4
    assert records()[r"0/\xe4.mmif"].attempts == 2


def test_a_pass_without_any_caption_is_a_warning(start: Run, archive: list[str]) -> None:
    Path("plan.yaml").write_text(
        "passes:\n - name: bad\n   prompt: What is <image>?\n - name: fine\n   prompt: Describe.\n"
    )
    assert start() == 0
    with Ledger(Path("out"), read_only=True) as ledger:
        said = list(ledger.warnings())
    assert [(path, name) for path, name, _ in said] == [(path, "bad") for path in archive]
    assert all(text.startswith("CaptioningFailed: None of the TimeFrames") for _, _, text in said)


def test_a_dry_run_counts_and_does_nothing(start: Run, archive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert start("--dry-run") == 0
    assert not Path("out").exists()
    assert "start it, stop it, and ask again" in " ".join(capsys.readouterr().out.split())
    assert start() == 0
    capsys.readouterr()
    prompts = sum(record.prompts or 0 for record in records().values())
    assert start("--dry-run") == 0
    assert "Done already" in capsys.readouterr().out
    assert start("--dry-run", "--force") == 0
    rows = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    figures = {name.strip(): value.strip() for name, value in rows}
    assert (int(figures["Files"]), int(figures["TimeFrames"]), int(figures["Prompts"])) == (6, 12, prompts)


def test_status_while_nobody_is_at_work(start: Run, archive: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("in", "bad.mmif").write_text("{")
    start()
    capsys.readouterr()
    assert backfill.main(["status", "out"]) == 0
    said = capsys.readouterr().out
    assert f"{len(archive)} done, 1 failed, 0 waiting" in said
    assert "failed (mmif)  bad.mmif: " in said
    assert backfill.main(["status", "out", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["files"] == {"waiting": 0, "running": 0, "done": len(archive), "failed": 1}
    assert state["at_work"] is False
    assert state["run"]["outcome"] == "incomplete"
    assert backfill.main(["status", "elsewhere"]) == 2
    assert "There is no backfill in elsewhere" in capsys.readouterr().err


def test_the_report_at_the_end_and_later(start: Run, archive: list[str]) -> None:
    assert start("--report") == 0
    index = Path("out", "report", "index.html")
    assert index.is_file()
    index.unlink()
    assert backfill.main(["report", "out", "--no-pictures"]) == 0
    assert index.is_file()
    assert start() == 0  # the report is no output, and no input


def test_through_a_server_it_makes_the_same_archive_byte_for_byte(
    captioner: SmolVLM2Captioner, start: Run, archive: list[str]
) -> None:
    Path("plan.yaml").write_text(PLAN + "  - name: bad\n    prompt: What is <image>?\n")
    assert start() == 0
    local = Path("out").rename("local")
    with served(captioner) as server:
        assert start("--server", server.url) == 0
    assert outputs(Path("out")) == outputs(local)
    assert list(outputs(local)) == archive
    assert {record.worker for record in records().values()} == {server.url}


def test_the_same_through_the_side_door(start: Run, broadcast: Broadcast, captioner: SmolVLM2Captioner) -> None:
    """Without a plan the options are one pass, as in the command line for one file."""
    Path("in").mkdir()
    Path("in", "a.mmif").write_text(swt_mmif(broadcast))
    assert backfill.main(["in", "--tfLabels", "slate", "bars", "--pretty", "true", "out"]) == 0
    made = Path("out", "a.mmif").read_text()
    given = {"captions": {"tfLabels": ["slate", "bars"], "pretty": ["true"]}}
    assert without_times(made) == pass_by_pass(captioner, swt_mmif(broadcast), given)
    assert made.startswith("{\n  ")
