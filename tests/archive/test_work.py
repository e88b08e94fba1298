"""The unit of work: what is one file's fault, and what leaves none a chance."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from archive import work
from archive.inputs import Job
from archive.records import Counts
from archive.work import Captioned, Stopped, do
from captioning.urls import Source, Url


class Echo:
    """Captions a file by giving it back."""

    def caption(self, mmif: str, progress: Any) -> Captioned:
        return Captioned(mmif, Counts(), (), "echo")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "a.mmif").write_text("{}")
    return Job("a.mmif", tmp_path / "a.mmif", tmp_path / "out" / "a.mmif")


def result(job: Job) -> str | None:
    return do(job, Echo(), "asked", lambda done, of: None).cause


def fails_with(number: int) -> Any:
    def fail(source: Source) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_without_trouble_it_is_done(job: Job) -> None:
    assert result(job) is None
    assert job.target.read_text() == "{}"


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOTCONN", "ESTALE", "ETIMEDOUT", "EHOSTDOWN"])
def test_an_output_folder_that_is_gone_or_full_stops_it(job: Job, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(work, "atomic", fails_with(getattr(errno, name)))
    with pytest.raises(Stopped, match="a.mmif can't be written: .* start the same command again"):
        result(job)


@pytest.mark.parametrize("name", ["ENODEV", "ENXIO", "EMFILE", "ENFILE"])
def test_so_does_a_device_that_is_gone_and_what_this_process_lacks(
    job: Job, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(work, "atomic", fails_with(getattr(errno, name)))
    with pytest.raises(Stopped):
        result(job)


@pytest.mark.parametrize("name", ["ENOTCONN", "ESTALE", "EHOSTDOWN", "EMFILE", "ENFILE"])
def test_so_does_a_folder_of_inputs_that_is_gone(job: Job, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(work, "status_of", fails_with(getattr(errno, name)))
    with pytest.raises(Stopped, match="a.mmif can't be read: .* Mount its folder again"):
        result(job)


def test_what_is_one_file_s_fault_fails_it_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(work, "atomic", fails_with(errno.EACCES))
        assert result(job) == "output"
    with monkeypatch.context() as patched:
        patched.setattr(work, "status_of", fails_with(errno.EIO))  # a bad sector
        assert result(job) == "input"
    monkeypatch.setattr(work, "status_of", fails_with(errno.ENOTCONN))
    assert result(Job("a.mmif", Url("s3://bucket/a.mmif"), job.target)) == "input"
