"""MMIF that is made into text in a time that grows with its length, not with the square of it."""

from mmif import Document, Mmif


class CaptionedMmif(Mmif):  # type: ignore[misc]
    """
    The MMIF of a call.

    Before mmif-python makes text of it, it looks for the view of every document, each caption's own included, among
    all annotations of all views, and needs that only for properties that were set on documents and have no view yet.
    That took 1.5 s for 100 captions and many minutes for 3,000; it still does where there are such properties.
    """

    def generate_capital_annotations(self) -> None:
        """Give properties that were set on documents a view, if there are any."""
        if any(_unwritten(document) for document in self.documents) or any(
            _unwritten(document) for view in self.views for document in view.get_documents()
        ):
            super().generate_capital_annotations()


def _unwritten(document: Document) -> bool:
    return any(name != "id" for name in document._props_pending)
