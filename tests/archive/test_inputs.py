"""Inputs become pairs of a file and its output."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec import filesystem

from archive.inputs import InputError, Job, find_jobs
from captioning.urls import Url


@pytest.fixture
def tapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.mmif", "a.mmif", "1990/c.mmif", "1990/05/d.mmif", ".backfill/e.mmif", "1990/.f.mmif", "notes.json"):
        file = tmp_path / "tapes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "tapes"


def paths(*inputs: str, **options: Any) -> list[str]:
    return [job.path for job in find_jobs(inputs, Path("out"), **options)]


def test_a_folder_stands_for_the_mmif_files_below_it(tapes: Path) -> None:
    jobs = find_jobs(["tapes"], Path("out"))
    expected = ["1990/05/d.mmif", "1990/c.mmif", "a.mmif", "b.mmif"]
    output = tapes.parent / "out"
    assert jobs == [Job(path, tapes / path, output / path) for path in expected]


def test_an_output_folder_below_the_input_is_no_input(tapes: Path) -> None:
    (tapes / "out").mkdir()
    (tapes / "out" / "a.mmif").touch()
    found = [job.path for job in find_jobs(["tapes"], tapes / "out")]
    assert found == ["1990/05/d.mmif", "1990/c.mmif", "a.mmif", "b.mmif"]


def test_nothing_in_the_output_folder_is_an_input_unless_it_is_asked_for_there(tapes: Path) -> None:
    (tapes / "out").mkdir()
    (tapes / "out" / "a.mmif").touch()
    (tapes.parent / "shelf").symlink_to(tapes)
    (tapes / "earlier").symlink_to("out")
    (tapes / "1990" / "z.mmif").symlink_to(tapes / "out" / "a.mmif")
    every = ["1990/05/d.mmif", "1990/c.mmif", "a.mmif", "b.mmif"]
    for folder in ("tapes", "shelf"):
        assert [job.path for job in find_jobs([folder], tapes.parent / "shelf" / "out")] == every
        assert [job.path for job in find_jobs([f"{folder}/**/*.mmif"], tapes.parent / "shelf" / "out")] == every
    (tapes / "a.mmif").unlink()
    assert [job.path for job in find_jobs(["shelf/out"], tapes)] == ["a.mmif"]
    assert [job.path for job in find_jobs(["shelf/out/*.mmif"], tapes)] == ["a.mmif"]


def test_no_output_takes_the_place_of_any_input(tapes: Path) -> None:
    shelf = tapes.parent / "shelf"
    shelf.symlink_to(tapes)
    (tapes / "list.txt").write_text("a.mmif\n")
    for given in ("shelf", "shelf/a.mmif", "shelf/*.mmif", "shelf/list.txt"):
        for output in (tapes, shelf):
            with pytest.raises(InputError, match=r"\.mmif would be overwritten by its own output"):
                find_jobs([given], output)
    (tapes / "list.txt").write_text("1990/c.mmif\n")
    other = tapes.parent / "other" / "c.mmif"
    other.parent.mkdir()
    other.touch()
    with pytest.raises(InputError, match=f"tapes/1990/c.mmif would be overwritten by the output of {other}"):
        find_jobs(["other", "tapes/list.txt"], shelf / "1990")
    (tapes.parent / "out").mkdir()
    (tapes.parent / "out" / "a.mmif").symlink_to(tapes / "a.mmif")
    with pytest.raises(InputError, match="tapes/a.mmif would be overwritten by its own output"):
        paths("tapes/a.mmif")


def test_an_output_is_always_below_the_output_folder(tapes: Path) -> None:
    (tapes / "list.txt").write_text("hdfs:///data/a.mmif\nmemory:///b.mmif\n")
    jobs = find_jobs(["tapes/list.txt"], Path("out"))
    assert {job.path: str(job.target) for job in jobs} == {
        path: str(tapes.parent / "out" / path) for path in ("data/a.mmif", "b.mmif")
    }
    for entry in ("memory://bucket/../../a.mmif", "https://host/%2e%2e/%2e%2e/a.mmif"):
        (tapes / "list.txt").write_text(entry)
        with pytest.raises(InputError, match="lies outside"):
            paths("tapes/list.txt")
    (tapes / "list.txt").write_text("a\0.mmif")
    with pytest.raises(InputError, match="can't be the name of a file"):
        paths("tapes/list.txt")


def test_links_unite_volumes(tapes: Path) -> None:
    volume = tapes.parent / "volume"
    (volume / "more").mkdir(parents=True)
    (volume / "v.mmif").touch()
    (volume / "more" / "w.mmif").touch()
    (tapes / "1991").symlink_to(volume)
    (volume / "back").symlink_to(tapes)  # in circles
    (volume / "more" / "here").symlink_to(".")
    (tapes / "1990" / "up").symlink_to("..")
    expected = ["1990/05/d.mmif", "1990/c.mmif", "1991/more/w.mmif", "1991/v.mmif", "a.mmif", "b.mmif"]
    assert paths("tapes") == expected
    assert paths("tapes", base="tapes") == expected
    (tapes.parent / "shelf").symlink_to(tapes)
    assert paths("shelf", "shelf/a.mmif", "shelf/*.mmif", base="tapes") == expected


def test_an_input_without_files_is_refused(tapes: Path) -> None:
    (tapes.parent / "share").mkdir()  # not mounted
    with pytest.raises(InputError, match=r"There is no .mmif file in .*/share"):
        paths("tapes", "share")
    for name in ("list.txt", "list.csv", "list.tsv"):
        (tapes / name).write_text("# none\n")
        with pytest.raises(InputError, match=f"There is no file in the manifest tapes/{name}"):
            paths("tapes", f"tapes/{name}")


@pytest.mark.usefixtures("tapes")
def test_files_stand_for_themselves() -> None:
    assert paths("tapes/1990/c.mmif", "tapes/notes.json") == ["c.mmif", "notes.json"]
    assert paths("tapes/1990/c.mmif", "tapes/a.mmif", base=Path("tapes")) == ["1990/c.mmif", "a.mmif"]


@pytest.mark.usefixtures("tapes")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("tapes/*.mmif", ["a.mmif", "b.mmif"]),
        ("tapes/**/*.mmif", ["1990/05/d.mmif", "1990/c.mmif", "a.mmif", "b.mmif"]),
        ("tapes/19*/05/?.mmif", ["1990/05/d.mmif"]),
        ("tap*/*.json", ["tapes/notes.json"]),
    ],
)
def test_globs(pattern: str, expected: list[str]) -> None:
    assert paths(pattern) == expected


def test_manifests_keep_relative_paths(tapes: Path) -> None:
    manifest = tapes / "list.txt"
    manifest.write_text(f"# of May\n1990/05/d.mmif\n\n  missing/x.mmif \n{tapes}/a.mmif\n")
    jobs = find_jobs([str(manifest)], Path("out"))
    anchorless = str(tapes / "a.mmif").lstrip("/")
    assert {job.path: job.source for job in jobs} == {
        "1990/05/d.mmif": tapes / "1990/05/d.mmif",
        "missing/x.mmif": tapes / "missing/x.mmif",  # fails when its turn comes
        anchorless: tapes / "a.mmif",
    }
    assert paths(str(manifest), base=tapes) == ["1990/05/d.mmif", "a.mmif", "missing/x.mmif"]


@pytest.mark.parametrize("mark", ["", "\N{ZERO WIDTH NO-BREAK SPACE}"])
def test_manifests_as_tables(tapes: Path, mark: str) -> None:
    table = tapes / "list.csv"
    table.write_text(f'{mark}guid,file,title\n1,a.mmif,"One, two"\n2,1990/c.mmif,Three\n3,,Nothing\n')
    assert paths(str(table), column="file") == ["1990/c.mmif", "a.mmif"]
    with pytest.raises(InputError, match="several columns; say with --column.*guid, file, title"):
        paths(str(table))
    with pytest.raises(InputError, match='no column "path".*guid, file, title'):
        paths(str(table), column="path")
    (tapes / "one.tsv").write_text("file\na.mmif\n")
    assert paths(str(tapes / "one.tsv")) == ["a.mmif"]


def test_quotation_marks_in_tables(tapes: Path) -> None:
    tabs = 'title\tfile\n"One\ta.mmif\nTwo\tb.mmif\n"Three" and\t"1990/c.mmif\n'
    (tapes / "list.tsv").write_text(tabs)
    assert paths("tapes/list.tsv", column="file") == ['"1990/c.mmif', "a.mmif", "b.mmif"]
    commas = 'title,file\n"One,\r\n\x0b two ""inch""",a.mmif\r\nTwo,"b\x85\u2028.mmif"\r\n'
    (tapes / "list.csv").write_bytes(commas.encode())
    assert paths("tapes/list.csv", column="file") == ["a.mmif", "b\x85\u2028.mmif"]
    for rest in ('"Two,b.mmif\nThree,1990/c.mmif\n', '"Two" and,b.mmif\n'):
        (tapes / "list.csv").write_text("title,file\nOne,a.mmif\n" + rest)
        with pytest.raises(InputError, match=r"list.csv can't be read from line 3 on: .* to stand there twice"):
            paths("tapes/list.csv", column="file")


def test_lines_of_a_list_end_where_lines_of_a_file_do(tapes: Path) -> None:
    (tapes / "list.txt").write_bytes("a.mmif\r\nb.mmif\r1990/c.mmif\nx\x0b\x0c\x1c\x85\u2028y.mmif".encode())
    assert paths("tapes/list.txt") == ["1990/c.mmif", "a.mmif", "b.mmif", "x\x0b\x0c\x1c\x85\u2028y.mmif"]


def test_a_name_that_is_not_utf_8_has_one_that_can_be_shown(tapes: Path) -> None:
    name = os.fsdecode(b"\xe4.mmif")
    (tapes / name).touch()
    (job,) = (job for job in find_jobs(["tapes"], Path("out")) if job.source.name == name)
    assert (job.path, job.source) == ("\\xe4.mmif", tapes / name)


def test_the_same_file_twice_is_done_once(tapes: Path) -> None:
    assert paths("tapes", "tapes/a.mmif", str(tapes / "b.mmif")).count("a.mmif") == 1
    (tapes.parent / "shelf").symlink_to(tapes)
    assert paths("tapes", "shelf/a.mmif").count("a.mmif") == 1


def test_what_can_not_be_used_is_refused_before_anything_starts(tapes: Path) -> None:
    with pytest.raises(InputError, match="no file or folder tapes/none"):
        paths("tapes", "tapes/none")
    with pytest.raises(InputError, match="No file matches tapes/x\\*"):
        paths("tapes/x*")
    (tapes / "1990" / "a.mmif").touch()
    with pytest.raises(InputError, match="would both become a.mmif.*--base"):
        paths("tapes/a.mmif", "tapes/1990/a.mmif")
    with pytest.raises(InputError, match="overwritten by its own output"):
        find_jobs(["tapes"], tapes)
    with pytest.raises(InputError, match="a.mmif is not below .*1990, the folder that --base names"):
        paths("tapes", base=tapes / "1990")
    (tapes / "1990" / "list.txt").write_text("../a.mmif\n")
    with pytest.raises(InputError, match="a.mmif lies outside its manifest's folder.*--base"):
        paths("tapes/1990/list.txt")
    (tapes / "list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="list.txt can't be read"):
        paths("tapes/list.txt")


@pytest.fixture
def bucket() -> Iterator[Any]:
    """Files in memory, as an object store has them."""
    memory = filesystem("memory")
    for name in ("b.mmif", "1990/c d.mmif", "1990/05/e.mmif", "1990/.f.mmif", ".hidden/g.mmif", "notes.json"):
        memory.pipe(f"/bucket/tapes/{name}", b"{}")
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("memory://bucket/tapes", ["1990/05/e.mmif", "1990/c d.mmif", "b.mmif"]),
        ("memory://bucket/tapes/", ["1990/05/e.mmif", "1990/c d.mmif", "b.mmif"]),
        ("memory://bucket/*/1990/*.mmif", ["tapes/1990/c d.mmif"]),
        ("memory://bucket/tapes/**/*.mmif", ["1990/05/e.mmif", "1990/c d.mmif", "b.mmif"]),
        ("memory://bucket/tapes/notes.json", ["notes.json"]),
    ],
)
def test_urls_of_a_store(given: str, expected: list[str], tmp_path: Path) -> None:
    jobs = find_jobs([given], tmp_path)
    assert [job.path for job in jobs] == expected
    assert all(isinstance(job.source, Url) and str(job.source).endswith(f"/{job.path}") for job in jobs)
    assert all(filesystem("memory").cat(str(job.source)) == b"{}" for job in jobs)
    assert [job.target for job in jobs] == [tmp_path / path for path in expected]


def test_urls_in_manifests_and_manifests_by_url(tapes: Path, bucket: Any) -> None:
    (tapes / "list.txt").write_text("a.mmif\nmemory://bucket/tapes/b.mmif\nhttps://host/x%20y.mmif?signature=z\n")
    jobs = {job.path: job.source for job in find_jobs(["tapes/list.txt"], Path("out"))}
    assert jobs == {
        "a.mmif": tapes / "a.mmif",
        "bucket/tapes/b.mmif": Url("memory://bucket/tapes/b.mmif"),
        "host/x y.mmif": Url("https://host/x%20y.mmif?signature=z"),
    }
    bucket.pipe("/bucket/lists/list.csv", f"file\n1990/c.mmif\nmemory://bucket/tapes/b.mmif\n{tapes}/a.mmif".encode())
    jobs = {job.path: job.source for job in find_jobs(["memory://bucket/lists/list.csv"], Path("out"))}
    assert jobs == {
        "1990/c.mmif": Url("memory://bucket/lists/1990/c.mmif"),
        "bucket/tapes/b.mmif": Url("memory://bucket/tapes/b.mmif"),
        str(tapes / "a.mmif").lstrip("/"): tapes / "a.mmif",
    }
    assert paths("memory://bucket/tapes", base="memory://bucket") == [
        "tapes/1990/05/e.mmif",
        "tapes/1990/c d.mmif",
        "tapes/b.mmif",
    ]


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("memory://bucket/none", "There is no file at memory://bucket/none"),
        ("memory://bucket/none*", "There is no file at"),
        ("memory://*/b.mmif", "has to name a bucket or a host"),
        ("nonsense://bucket/tapes", "nonsense://bucket/tapes can't be read: .*not known"),
        ("memory://bucket/none.txt", "The manifest memory://bucket/none.txt can't be read"),
    ],
)
def test_urls_that_can_not_be_used(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        paths(given)
    with pytest.raises(InputError, match="b.mmif is not below memory://other, the folder that --base names"):
        paths("memory://bucket/tapes/b.mmif", base="memory://other")
