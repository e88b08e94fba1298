"""The frames of each task, read ahead of the engine."""

import contextlib
import queue
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmif import Document, DocumentTypes
from mmif.utils.video_document_helper import extract_images_from_timepoints
from PIL import Image

from captioning.plan import Task
from sampling.timepoints import Instant

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Frames:
    """
    The frames of one task.

    :param images: RGB, in the task's order, without those that could not be read
    :param instants: the instant of each image
    :param unread: the instants, in ms, that there is no picture for
    """

    task: Task
    images: tuple[Image.Image, ...]
    instants: tuple[Instant, ...]
    unread: tuple[int, ...]


@contextlib.contextmanager
def reading(tasks: Sequence[Task], ahead: int) -> Iterator[Iterator[Frames]]:
    """
    Read the frames of ``tasks`` on a thread of its own, at most ``ahead`` tasks ahead of whoever takes them.

    :returns: a context, in which the frames come out in the order of the tasks; leaving it stops the reader
    """
    shelf: queue.Queue[Frames | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(frames: Frames | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                return shelf.put(frames, timeout=_POLL_SECONDS)

    def read() -> None:
        for task in tasks:
            if stopped.is_set():
                return
            put(_read(task))
        put(None)

    thread = threading.Thread(target=read, name="frames", daemon=True)
    thread.start()
    try:
        yield iter(shelf.get, None)
    finally:
        stopped.set()
        thread.join()


def _read(task: Task) -> Frames:
    document = Document()
    document.at_type = DocumentTypes.VideoDocument
    document.location = f"file://{task.path}"
    try:
        images = extract_images_from_timepoints(document, [i.ms for i in task.instants], as_PIL=True)
    except (OSError, RuntimeError, ValueError) as error:
        warnings.warn(str(error), stacklevel=1)
        images = [None] * len(task.instants)
    there = [(image, instant) for image, instant in zip(images, task.instants, strict=True) if image is not None]
    unread = tuple(instant.ms for image, instant in zip(images, task.instants, strict=True) if image is None)
    return Frames(task, tuple(image for image, _ in there), tuple(instant for _, instant in there), unread)
