"""The synthetic broadcast: the same every time, on the media timeline, and described truthfully by its MMIF."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from mmif import AnnotationTypes, DocumentTypes, Mmif
from mmif.utils import video_document_helper as helper

from demo.annotations import convert, instants_of, interval_mmif, representatives_of, swt_mmif
from demo.broadcast import NTSC, Broadcast, Segment, card_of, make_segments, render, scene_of
from demo.cards import COLOURS, KINDS, Card, Jitter, draw_card

SEGMENTS = (Segment("bars", "blue", 0, 3), Segment("slate", "red", 3, 8), Segment("chyron", "white", 8, 12))


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory):
    return render(tmp_path_factory.mktemp("broadcast") / "short.mp4", SEGMENTS)


def likeness(image, card):
    """The mean difference in grey levels between a decoded frame and the card as drawn."""
    drawn = draw_card(card, image.size, Jitter(scene=scene_of(card)))
    return float(np.abs(np.asarray(image, dtype=float) - np.asarray(drawn, dtype=float)).mean())


def test_cards_are_drawn_the_same_every_time_and_differ():
    cards = [Card(kind, colour, 1234) for kind in KINDS for colour in COLOURS]
    pictures = {card: draw_card(card, (160, 120)).tobytes() for card in cards}
    assert all(draw_card(card, (160, 120)).tobytes() == picture for card, picture in pictures.items())
    assert len(set(pictures.values())) == len(cards)
    with pytest.raises(ValueError, match="seconds 0 to 9999"):
        draw_card(Card("slate", "red", 10000))


def test_segments_follow_each_other_and_repeat_by_seed():
    segments = make_segments(300, seed=5, start=40)
    assert segments == make_segments(300, seed=5, start=40) != make_segments(300, seed=6, start=40)
    assert (segments[0].start, segments[-1].end) == (40, 340)
    for before, after in pairwise(segments):
        assert before.end == after.start and before.kind != after.kind and before.colour != after.colour


def test_the_same_arguments_give_the_same_bytes(broadcast, tmp_path):
    again = render(tmp_path / "short.mp4", SEGMENTS)
    assert again.path.read_bytes() == broadcast.path.read_bytes()


@pytest.mark.parametrize(
    ("fps", "gop", "offset", "size", "suffix"),
    [
        (NTSC, 30, 0, (640, 480), ".mp4"),
        (NTSC, 250, 45, (320, 240), ".mp4"),
        (Fraction(25), 12, 10, (720, 576), ".mkv"),
    ],
)
def test_timestamps_size_and_key_frames_are_as_asked(tmp_path, fps, gop, offset, size, suffix):
    made = render(tmp_path / f"made{suffix}", SEGMENTS, fps=fps, gop=gop, offset_frames=offset, size=size)
    with av.open(str(made.path)) as container:
        frames = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == size
    assert len(frames) == made.frames
    for index, (time, _) in enumerate(frames):
        assert time == pytest.approx(float(made.frame_time(index)), abs=0.001)
    keys = [index for index, (_, key) in enumerate(frames) if key]
    assert max(b - a for a, b in zip(keys, [*keys[1:], len(frames)], strict=True)) <= gop


def test_the_nearest_frame_is_the_one_the_sdk_takes(tmp_path):
    made = render(tmp_path / "offset.mp4", SEGMENTS, offset_frames=37, size=(320, 240))
    mmif = Mmif(swt_mmif(made))
    video = mmif.get_documents_by_type(DocumentTypes.VideoDocument)[0]
    instants = [1300, 1999, 2000, 2500, 2990, 3003, 7990, 7999, 8008, 11500]
    images = helper.extract_images_from_timepoints(video, instants, as_PIL=True)
    for ms, image in zip(instants, images, strict=True):
        card = made.card_at(ms)
        others = [Card(card.kind, card.colour, card.second + step) for step in (-1, 1)]
        assert likeness(image, card) < 0.5 * min(likeness(image, other) for other in others), ms


def test_expected_phrases_by_hand():
    made = Broadcast(Path("made.mp4"), SEGMENTS, NTSC, 0, 360)
    assert made.expected_phrase(0) == "bars 0000 blue"
    assert made.expected_phrase(2999) == "slate 0003 red"  # frame 90 is at 3003 ms, frame 89 at 2970 ms
    assert made.expected_caption([3500, 11500]) == "slate 0003 red; chyron 0011 white"
    assert card_of(SEGMENTS, 99.5) == Card("chyron", "white", 99)
    with pytest.raises(ValueError, match="outside"):
        made.card_at(13000)


def test_swt_mmif_has_timepoints_and_timeframes_without_borders(broadcast):
    text = swt_mmif(broadcast)
    assert text == swt_mmif(broadcast)
    mmif = Mmif(text)  # validates against the MMIF schema
    video = mmif.get_documents_by_type(DocumentTypes.VideoDocument)[0]
    assert video.location == f"file://{broadcast.path}"
    points, frames = mmif.views
    assert points.metadata.contains[AnnotationTypes.TimePoint]["timeUnit"] == "milliseconds"
    assert [point.get_property("timePoint") for point in points.annotations] == list(range(500, 12000, 1000))
    assert [frame.get_property("label") for frame in frames.annotations] == ["bars", "slate", "chyron"]
    for frame, segment in zip(frames.annotations, SEGMENTS, strict=True):
        assert "start" not in frame.properties and "end" not in frame.properties
        instants = [mmif[point].get_property("timePoint") for point in frame.get_property("targets")]
        assert instants == instants_of(broadcast, segment)
        chosen = [mmif[point].get_property("timePoint") for point in frame.get_property("representatives")]
        assert chosen == representatives_of(instants) and len(chosen) == 3
        images = helper.extract_images_by_mode(mmif, frame, mode=helper.SamplingMode.REPRESENTATIVES, as_PIL=True)
        assert len(images) == 3
        for ms, image in zip(chosen, images, strict=True):
            assert likeness(image, Card(segment.kind, segment.colour, ms // 1000)) < 6


def test_swt_mmif_variants(broadcast):
    mmif = Mmif(swt_mmif(broadcast, labels=["slate"], representatives=0, document="timepoints", one_view=True))
    (view,) = mmif.views
    (frame,) = view.get_annotations(AnnotationTypes.TimeFrame)
    assert "representatives" not in frame.properties and "document" not in frame.properties
    assert mmif[frame.get_property("targets")[0]].get_property("document") == "d1"
    mmif = Mmif(swt_mmif(broadcast, document="annotation"))
    assert all(frame.get_property("document") == "d1" for frame in mmif.views[1].annotations)


@pytest.mark.parametrize("unit", ["milliseconds", "seconds", "frames"])
@pytest.mark.parametrize("document", ["contains", "annotation"])
def test_interval_mmif_says_the_same_in_every_unit(broadcast, unit, document):
    mmif = Mmif(interval_mmif(broadcast, unit=unit, document=document))
    (view,) = mmif.views
    assert view.metadata.contains[AnnotationTypes.TimeFrame]["timeUnit"] == unit
    for frame, segment in zip(view.annotations, SEGMENTS, strict=True):
        assert frame.get_property("start") == convert(segment.start, unit, broadcast)
        start, end = helper.convert_timeframe(mmif, frame, "milliseconds")
        assert start == pytest.approx(segment.start * 1000, abs=17)
        assert end == pytest.approx(segment.end * 1000, abs=17)
