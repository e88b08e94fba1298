"""The file behind a VideoDocument."""

from pathlib import Path
from urllib.parse import unquote

from mmif import Document
from mmif.utils.video_document_helper import get_framerate

from captioning.places import ANYWHERE, Places


def locate(document: Document, places: Places = ANYWHERE) -> Path:
    """
    Resolve a document's location through the SDK and its plugins, percent-encoded or not.

    :param places: where videos may be read from
    :raises ValueError: if it has none
    :raises ForbiddenPlace: if it lies elsewhere, whether there is something or not
    :raises FileNotFoundError: if there is no such file
    """
    if not document.location:
        raise ValueError(f"the video {document.id} has no location")
    local = places.check_location(document.location)
    path = str(document.location_path())
    for candidate in (path, unquote(path)):
        file = places.check_path(candidate) if local else Path(candidate)
        if file.is_file():
            return file
    raise FileNotFoundError(f"there is no file {path}, where {document.id} should be.")


def rate_of(document: Document, path: Path) -> float:
    """Return the frames per second that the document tells, or its file at ``path``."""
    # Through a copy: where the SDK has to open the video, it writes what it learns into the document it is given, and
    # from there into the output.
    copy = Document(document.serialize())
    copy.location = f"file://{path}"  # as it is: the SDK takes percent signs literally
    return float(get_framerate(copy))
