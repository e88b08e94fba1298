"""The file behind a VideoDocument."""

import math
from pathlib import Path
from urllib.parse import unquote

import mmif_docloc_http
from mmif import Document
from mmif.serialize.annotation import discovered_docloc_plugins
from mmif.utils.video_document_helper import get_framerate

from captioning.fetching import Fetch
from captioning.places import ANYWHERE, ForbiddenPlace, Places
from captioning.urls import Url
from sampling.source import Source


def locate(document: Document, places: Places = ANYWHERE, fetch: Fetch | None = None) -> Path:
    """
    Resolve a document's location, percent-encoded or not.

    :param places: where videos may be read from
    :param fetch: fetches what has a URL that no plugin of the SDK is installed for; without, the SDK's own ways do
    :raises ValueError: if it has none
    :raises ForbiddenPlace: if it lies elsewhere, whether there is something or not
    :raises FileNotFoundError: if there is no such file
    :raises OSError: if it can't be fetched
    """
    if not document.location:
        raise ValueError(f"the video {document.id} has no location")
    local = places.check_location(document.location)
    if fetch is not None and not local and not _has_plugin(url := Url(document.location)):
        return _fetched(document, url, places, fetch)
    path = str(document.location_path())
    refused: ForbiddenPlace | None = None
    for candidate in dict.fromkeys((path, unquote(path))):
        try:
            file = places.check_path(candidate) if local else Path(candidate)
        except ForbiddenPlace as error:  # the name of an allowed folder may be percent-encoded, too
            refused = error
            continue
        if file.is_file():
            return file
        refused = None
    raise refused or FileNotFoundError(f"there is no file {path}, where {document.id} should be.")


def _has_plugin(url: Url) -> bool:
    # The one that comes with the SDK keeps all that it downloads until somebody looks into the temporary folder.
    return discovered_docloc_plugins.get(url.scheme, mmif_docloc_http) is not mmif_docloc_http


def _fetched(document: Document, url: Url, places: Places, fetch: Fetch) -> Path:
    # A store's names are as they are; a location may be percent-encoded all the same, as those of files are.
    for text in (url.text,) if url.on_web else dict.fromkeys((url.text, unquote(url.text))):
        places.check_location(text)
        try:
            return fetch(Url(text))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OSError(f"{url}, where {document.id} should be, can't be fetched: {error}.") from error
    raise FileNotFoundError(f"there is no file {url}, where {document.id} should be.")


class _Opened(Document):  # type: ignore[misc]
    """A document whose file the SDK is about to open, and would follow to other files if it is a playlist."""

    def location_path(self, nonexist_ok: bool = True) -> str:
        """:raises VideoError: if it can't be opened, or is no video"""
        path = super().location_path(nonexist_ok)
        Source(path).close()
        return str(path)


def rate_of(document: Document, path: Path) -> float:
    """
    Return the frames per second that the document tells, or an earlier app of it, or its file at ``path``.

    :raises ValueError: if that is no rate
    :raises VideoError: if the file can't be opened
    """
    # Through a copy: where the SDK has to open the video, it writes what it learns into the document it is given, and
    # from there into the output.
    copy = _Opened(document.serialize())
    copy._props_ephemeral.update(document._props_ephemeral)  # what earlier apps recorded; the text has none of it
    copy.location = f"file://{path}"  # as it is: the SDK takes percent signs literally
    try:
        rate = float(get_framerate(copy))
    except TypeError:  # the SDK rounds what is recorded, whatever it is
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"the input, or the file, tells no frame rate of {document.id} that can be used; see its fps")
    return rate
