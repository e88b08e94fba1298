"""Several files in flight: how many, which, and what happens when one goes wrong."""

import threading
from pathlib import Path

import pytest

from archive.files import FilesInFlight, Room
from archive.inputs import Job
from archive.records import Result
from archive.work import Progress, Stopped


def jobs(count: int) -> list[Job]:
    return [Job(f"{number:03}", Path("in"), Path("out")) for number in range(count)]


class Files:
    """Files that end when they are told to."""

    def __init__(self, prompts: int = 0) -> None:
        self.prompts = prompts
        self.begun: list[str] = []
        self.most = 0
        self._changed = threading.Condition()
        self._open: dict[str, Progress] = {}
        self._may_end: set[str] = set()

    def do(self, job: Job, progress: Progress) -> Result:
        with self._changed:
            self.begun.append(job.path)
            self._open[job.path] = progress
            self.most = max(self.most, len(self._open))
            self._changed.notify_all()
            if self.prompts:
                progress(0, self.prompts)
            self._changed.wait_for(lambda: job.path in self._may_end)
            del self._open[job.path]
        return Result(job.path, "", 0.0, None)

    def await_begun(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, timeout=60)

    def progress(self, path: str, done: int) -> None:
        self._open[path](done, self.prompts)

    def end(self, *paths: str) -> None:
        with self._changed:
            self._may_end.update(paths)
            self._changed.notify_all()


def work_through(in_flight: FilesInFlight, count: int) -> tuple[threading.Thread, list[str]]:
    done: list[str] = []
    given = jobs(count)
    thread = threading.Thread(target=lambda: done.extend(result.path for result in in_flight.results(given)))
    thread.start()
    return thread, done


def test_as_many_as_there_is_room_for_and_all_of_them() -> None:
    files = Files()
    in_flight = FilesInFlight(Room(files=3), files.do)
    thread, done = work_through(in_flight, 7)
    files.await_begun(3)
    assert files.begun == ["000", "001", "002"]
    files.end("001")
    files.await_begun(4)
    assert files.begun[3] == "003"
    files.end(*(job.path for job in jobs(7)))
    thread.join()
    assert sorted(done) == [job.path for job in jobs(7)]
    assert done[0] == "001"
    assert files.most == 3


def test_the_next_is_begun_before_prompts_run_out_and_not_long_before() -> None:
    files = Files(prompts=10)
    thread, done = work_through(FilesInFlight(Room(files=50, prompts=12), files.do), 5)
    files.await_begun(2)  # 10 are fewer than 12; 20 are not
    for number in range(8):
        files.progress("000", number)
    assert files.begun == ["000", "001"]  # 13 left
    files.progress("000", 9)
    files.await_begun(3)
    files.end(*(job.path for job in jobs(5)))
    thread.join()
    assert len(done) == 5


def test_files_of_unknown_size_are_opened_two_at_a_time() -> None:
    files = Files()
    thread, _ = work_through(FilesInFlight(Room(files=50, prompts=12), files.do), 5)
    files.await_begun(2)
    files._open["000"](0, 3)
    files.await_begun(3)
    assert files.begun == ["000", "001", "002"]
    files.end(*(job.path for job in jobs(5)))
    thread.join()
    assert files.most == 3


def test_after_stop_those_in_flight_end_and_no_other_begins() -> None:
    files = Files()
    in_flight = FilesInFlight(Room(files=2), files.do)
    thread, done = work_through(in_flight, 9)
    files.await_begun(2)
    in_flight.stop()
    files.end(*(job.path for job in jobs(9)))
    thread.join()
    assert sorted(done) == files.begun == ["000", "001"]


def test_when_nothing_can_be_done_any_more_what_is_done_is_not_lost() -> None:
    files = Files()
    disk_full = threading.Event()

    def do(job: Job, progress: Progress) -> Result:
        if job.path == "001":
            disk_full.wait()
            raise Stopped("no room")
        return files.do(job, progress)

    found: list[str] = []

    def work() -> None:
        with pytest.raises(Stopped, match="no room"):
            for result in FilesInFlight(Room(files=2), do).results(jobs(9)):
                found.append(result.path)

    thread = threading.Thread(target=work)
    thread.start()
    files.await_begun(1)
    disk_full.set()
    files.end(*(job.path for job in jobs(9)))
    thread.join()
    assert "000" in found
    assert sorted(found) == sorted(files.begun)
