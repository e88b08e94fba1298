"""Two small apps of the SDK, to stand before and behind the captioner in a chain."""

from typing import Any

from clams import AppMetadata, ClamsApp
from mmif import AnnotationTypes, DocumentTypes, Mmif


def _metadata(name: str) -> AppMetadata:
    return AppMetadata(
        name=name,
        description="Stands in for an app in a chain.",
        app_license="Apache 2.0",
        app_version="v1",
        identifier=f"http://apps.clams.ai/{name.lower()}/v1",
        url=f"https://example.org/{name.lower()}",
    )


class Segmenter(ClamsApp):
    """Finds what it was told: TimeFrames with start and end, of one video, in a view of its own."""

    def __init__(self, segments: list[tuple[str, int, int]]) -> None:
        self.segments = segments  # label, start and end in ms
        super().__init__()

    def _appmetadata(self) -> AppMetadata:
        metadata = _metadata("Segmenter")
        metadata.add_input(DocumentTypes.VideoDocument)
        metadata.add_output(AnnotationTypes.TimeFrame, timeUnit="milliseconds", label="*")
        return metadata

    def _annotate(self, mmif: Mmif, **parameters: Any) -> Mmif:
        (video,) = mmif.get_documents_by_type(DocumentTypes.VideoDocument)
        view = mmif.new_view()
        self.sign_view(view, parameters)
        view.new_contain(AnnotationTypes.TimeFrame, document=video.long_id, timeUnit="milliseconds")
        for label, start, end in self.segments:
            view.new_annotation(AnnotationTypes.TimeFrame, start=start, end=end, label=label)
        return mmif


class CaptionReader(ClamsApp):
    """Writes what each caption says and of which label, as a text document aligned to the caption."""

    def _appmetadata(self) -> AppMetadata:
        metadata = _metadata("Reader")
        metadata.add_input(DocumentTypes.TextDocument)
        metadata.add_input(AnnotationTypes.Alignment)
        metadata.add_output(DocumentTypes.TextDocument)
        return metadata

    def _annotate(self, mmif: Mmif, **parameters: Any) -> Mmif:
        captions = [
            (text, frame.get_property("label"))
            for view in mmif.get_all_views_contain(DocumentTypes.TextDocument)
            for text in view.get_annotations(DocumentTypes.TextDocument)
            for frame in text.get_all_aligned()
            if frame.at_type == AnnotationTypes.TimeFrame
        ]
        view = mmif.new_view()
        self.sign_view(view, parameters)
        view.new_contain(DocumentTypes.TextDocument)
        view.new_contain(AnnotationTypes.Alignment)
        for text, label in captions:
            read = view.new_textdocument(f"{label}: {text.text_value}")
            view.new_annotation(AnnotationTypes.Alignment, source=text.long_id, target=read.long_id)
        return mmif
