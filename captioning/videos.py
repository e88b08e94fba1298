"""The file behind a VideoDocument."""

from pathlib import Path
from urllib.parse import unquote

from mmif import Document
from mmif.utils.video_document_helper import get_framerate


def locate(document: Document) -> Path:
    """
    Resolve a document's location through the SDK and its plugins, percent-encoded or not.

    :raises ValueError: if it has none
    :raises FileNotFoundError: if there is no such file
    """
    if not document.location:
        raise ValueError(f"the video {document.id} has no location")
    path = str(document.location_path())
    for candidate in (path, unquote(path)):
        if Path(candidate).is_file():
            return Path(candidate)
    raise FileNotFoundError(f"there is no file {path}, where {document.id} should be.")


def rate_of(document: Document, path: Path) -> float:
    """Return the frames per second that the document tells, or its file at ``path``."""
    # Through a copy: where the SDK has to open the video, it writes what it learns into the document it is given, and
    # from there into the output.
    copy = Document(document.serialize())
    copy.location = f"file://{path}"  # as it is: the SDK takes percent signs literally
    return float(get_framerate(copy))
