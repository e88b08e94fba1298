"""The app over HTTP: what is on the frames comes back in the captions, for every kind of input and parameter."""

import gzip
import json
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from mmif import AnnotationTypes, Document, DocumentTypes, Mmif

from app import SmolVLM2Captioner
from demo.annotations import interval_mmif, swt_mmif
from demo.broadcast import Broadcast, Segment, make_segments, render
from demo.cards import Card, draw_card
from tests.captions import caption_views, captions, error, warnings, without_times
from tests.conftest import Post


@pytest.mark.parametrize("mode", ["representatives", "single", "all"])
def test_captions_name_the_frames_of_the_mode(post: Post, broadcast: Broadcast, mode: str) -> None:
    mmif = swt_mmif(broadcast, representatives=3)
    answer = post(mmif, tfSamplingMode=mode, parallelPrompts=8, maxImagesPerPrompt=6)
    given = Mmif(mmif)
    time_frames = list(given["v_1"].get_annotations(AnnotationTypes.TimeFrame))
    found = captions(answer)
    for caption in found:
        assert caption.text == broadcast.expected_caption(caption.times)
        assert caption.document == "d1"
    chosen = {"representatives": "representatives", "single": "representatives", "all": "targets"}[mode]
    for time_frame in time_frames:
        asked = time_frame.get_property(chosen)
        origins = [id_ for caption in found if caption.time_frame == time_frame.id for id_ in caption.origins]
        assert origins == ([asked[len(asked) // 2]] if mode == "single" else asked)
    order = [caption.time_frame for caption in found]
    assert list(dict.fromkeys(order)) == [time_frame.id for time_frame in time_frames]
    assert warnings(answer) == []


@pytest.mark.parametrize("unit", ["milliseconds", "seconds", "frames"])
def test_timeframes_without_timepoints(post: Post, broadcast: Broadcast, unit: Any) -> None:
    answer = post(interval_mmif(broadcast, unit=unit), tfSamplingMode="single", parallelPrompts=8)
    found = captions(answer)
    assert [caption.time_frame for caption in found] == [f"v_0:tf_{n}" for n in range(1, len(broadcast.segments) + 1)]
    for caption, segment in zip(found, broadcast.segments):
        middle = round((segment.start + segment.end) * 500)
        assert caption.times == pytest.approx([middle], abs=17)
        assert caption.text == broadcast.expected_caption(caption.times)
    (view,) = caption_views(answer)
    made = list(view.get_annotations(AnnotationTypes.TimePoint))
    assert [point.id for point in made] == [origin for caption in found for origin in caption.origins]
    assert {(p.get_property("document"), p.get_property("timeUnit")) for p in made} == {("d1", "milliseconds")}


def test_no_timepoint_is_made_where_one_stands(post: Post, broadcast: Broadcast) -> None:
    (view,) = caption_views(post(swt_mmif(broadcast), tfLabels="slate"))
    assert list(view.get_annotations(AnnotationTypes.TimePoint)) == []
    assert {str(t).split("/")[-2] for t in view.metadata.contains} == {"TextDocument", "Alignment"}


def test_labels_select(post: Post, broadcast: Broadcast) -> None:
    found = captions(post(swt_mmif(broadcast), tfLabels=["slate", "credits"], parallelPrompts=4))
    kinds = {phrase.split()[0] for caption in found for phrase in caption.text.split("; ")}
    assert kinds == {"slate", "credits"}
    assert len(found) == sum(segment.kind in kinds for segment in broadcast.segments)


def test_the_number_in_flight_changes_nothing(post: Post, broadcast: Broadcast) -> None:
    one, many = (post(swt_mmif(broadcast), parallelPrompts=number) for number in (1, 16))
    assert without_times(one) == without_times(many)


def test_two_videos_in_one_mmif(post: Post, broadcast: Broadcast, tmp_path: Path) -> None:
    other = render(tmp_path / "other.mp4", make_segments(20, seed=7, start=2000), offset_frames=60000)
    mmif, second = Mmif(swt_mmif(broadcast, document="annotation")), Mmif(swt_mmif(other, document="annotation"))
    video = Document()
    video.at_type = DocumentTypes.VideoDocument
    video.id = "d2"
    video.location = other.path.as_uri()
    mmif.add_document(video)
    whole = json.loads(mmif.serialize())
    for view in json.loads(second.serialize().replace("v_0", "v_2").replace("v_1", "v_3").replace('"d1"', '"d2"'))[
        "views"
    ]:
        whole["views"].append(view)
    found = captions(post(json.dumps(whole), parallelPrompts=8))
    assert {caption.document for caption in found} == {"d1", "d2"}
    for caption in found:
        shown = {"d1": broadcast, "d2": other}[caption.document]
        assert caption.text == shown.expected_caption(caption.times)
        assert caption.time_frame.startswith({"d1": "v_1:", "d2": "v_3:"}[caption.document])


def test_a_video_that_does_not_begin_at_zero(post: Post, tmp_path: Path) -> None:
    late = render(tmp_path / "late.mp4", make_segments(20, seed=3, start=10), offset_frames=300)
    found = captions(post(swt_mmif(late), parallelPrompts=4))
    assert [caption.text for caption in found] == [late.expected_caption(caption.times) for caption in found]
    assert found[0].text.split()[1] == f"{found[0].times[0] // 1000:04}"
    assert found[0].times[0] > 10_000


def test_a_truncated_video_loses_what_is_lost_and_shifts_nothing(post: Post, tmp_path: Path) -> None:
    whole = render(tmp_path / "whole.mkv", make_segments(40, seed=5))
    mmif = swt_mmif(whole)
    content = whole.path.read_bytes()
    whole.path.write_bytes(content[: len(content) * 6 // 10])
    answer = post(mmif, parallelPrompts=4)
    found = captions(answer)
    assert 0 < len(found) < len(whole.segments)
    for caption in found:
        assert caption.text == whole.expected_caption(caption.times)
    lost = [
        f"v_1:tf_{n}" for n in range(1, len(whole.segments) + 1) if f"v_1:tf_{n}" not in {c.time_frame for c in found}
    ]
    for time_frame in lost:
        assert any(time_frame in warning and "not captioned" in warning for warning in warnings(answer))


def test_an_unreadable_frame_in_the_middle_is_left_out_and_named(post: Post, broadcast: Broadcast) -> None:
    mmif = Mmif(swt_mmif(broadcast, labels=["slate"]))
    time_frame = next(mmif["v_1"].get_annotations(AnnotationTypes.TimeFrame))
    first, middle, last = time_frame.get_property("representatives")
    mmif[middle].add_property("timePoint", 999_000)  # past the end
    answer = post(mmif.serialize())
    caption = captions(answer)[0]
    assert caption.origins == [first, last]
    assert caption.text == broadcast.expected_caption(caption.times)
    assert any(time_frame.id in warning and "999000 ms" in warning for warning in warnings(answer))


def test_recorded_parameters(post: Post, broadcast: Broadcast, captioner: SmolVLM2Captioner) -> None:
    answer = post(swt_mmif(broadcast), tfLabels="slate", maxNewTokens=100, prompt=["Describe."])
    (view,) = caption_views(answer)
    assert view.metadata.parameters == {"tfLabels": "slate", "maxNewTokens": "100", "prompt": "Describe."}
    configuration = view.metadata.appConfiguration
    assert configuration["model"] == captioner.engine.model.record
    assert (configuration["maxNewTokens"], configuration["topK"], configuration["prompt"]) == (100, 50, ["Describe."])
    assert "runningTime" in json.loads(answer)["views"][-1]["metadata"]["appProfiling"]


def test_envelope_and_put(client: FlaskClient, broadcast: Broadcast) -> None:
    body = {"parameters": {"tfLabels": ["slate"], "parallelPrompts": 2}, "mmif": json.loads(swt_mmif(broadcast))}
    response = client.put("/", data=json.dumps(body))
    found = captions(response.text)
    assert found
    assert all(caption.text.startswith("slate") for caption in found)


def test_get_returns_the_metadata(client: FlaskClient, captioner: SmolVLM2Captioner) -> None:
    published = client.get("/").get_json()
    assert published["name"] == "SmolVLM2 Captioner"
    assert published["analyzer_versions"] == {"demo": captioner.engine.model.revision}


@pytest.mark.parametrize("mode", ["turn-taking", "user-only"])
def test_prompt_modes(post: Post, broadcast: Broadcast, mode: str) -> None:
    prompts = (
        ["What do you see?", "A card.", "Describe these frames."] if mode == "turn-taking" else ["What?", "Again."]
    )
    found = captions(post(swt_mmif(broadcast, labels=["slate"]), prompt=prompts, promptMode=mode))
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]


def test_a_sampled_call_with_little_choice_is_as_good_as_greedy(post: Post, broadcast: Broadcast) -> None:
    found = captions(post(swt_mmif(broadcast, labels=["slate"]), temperature=1.0, topK=1, topP=0.5))
    assert [caption.text for caption in found] == [broadcast.expected_caption(caption.times) for caption in found]


def test_swt_output_with_old_vocabulary_and_short_ids(post: Post, tmp_path: Path) -> None:
    mmif = json.loads(gzip.decompress((Path(__file__).parent / "data" / "swt-1.0.mmif.gz").read_bytes()))
    segments = make_segments(3830, seed=11)
    video = render(tmp_path / "hour.mp4", segments, size=(320, 240), fps=Fraction(2), gop=20)
    mmif["documents"][0]["properties"]["location"] = video.path.as_uri()
    answer = post(json.dumps(mmif), parallelPrompts=16)
    found = captions(answer)
    assert [caption.time_frame for caption in found] == [f"v_1:tf_{n}" for n in range(1, 25)]
    assert found[0].origins == ["v_0:tp_308"]
    right = [caption.text == video.expected_caption(caption.times) for caption in found]
    assert right.count(False) <= 1  # the demo model is right on 99 of 100 frames
    assert {caption.document for caption in found} == {"m1"}
    assert warnings(answer) == []


def test_a_prompt_too_long_costs_its_timeframe_alone(post: Post, broadcast: Broadcast) -> None:
    mmif = Mmif(swt_mmif(broadcast, labels=["slate"]))
    first, second = list(mmif["v_1"].get_annotations(AnnotationTypes.TimeFrame))[:2]
    first.add_property("targets", first.get_property("targets") * 120)
    answer = post(mmif.serialize(), tfSamplingMode="all")
    found = captions(answer)
    assert found[0].time_frame == second.id
    (warning,) = warnings(answer)
    assert f"TimeFrame {first.id} was not captioned" in warning
    assert "maxImagesPerPrompt" in warning


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({"topP": "x"}, ["topP", "number"]),
        ({"topP": "2"}, ["topP", "above 0 and up to 1"]),
        ({"temperature": "-1"}, ["temperature", "greedy"]),
        ({"topK": "-7"}, ["topK"]),
        ({"maxNewTokens": "0"}, ["maxNewTokens", "at least 1"]),
        ({"maxNewTokens": "many"}, ["maxNewTokens", "integer"]),
        ({"parallelPrompts": "0"}, ["parallelPrompts", "at least 1"]),
        ({"promptMode": "monologue"}, ["promptMode", "user-only"]),
        ({"tfSamplingMode": "some"}, ["tfSamplingMode", "representatives"]),
        ({"model": "gpt"}, ["model", "demo"]),
    ],
)
def test_wrong_parameters(post: Post, broadcast: Broadcast, parameters: dict[str, str], parts: list[str]) -> None:
    answer = post(swt_mmif(broadcast), 500, **parameters)
    assert all(part in error(answer) for part in parts), error(answer)


def test_an_unknown_parameter_is_a_warning(post: Post, broadcast: Broadcast) -> None:
    answer = post(swt_mmif(broadcast, labels=["slate"]), tfLables="slate")
    assert captions(answer)
    assert any("tfLables" in warning for warning in warnings(answer))


@pytest.mark.parametrize(
    "body", ["{broken", "[]", "3", "null", '{"metadata": {}}', '{"parameters": 1}', "", b"\xff\xfe{}", b"\x00"]
)
def test_what_is_not_mmif_is_refused_with_a_reason(client: FlaskClient, body: str | bytes) -> None:
    response = client.post("/", data=body)
    assert response.status_code == 500
    assert response.text.startswith("Invalid input data.")


def test_a_mmif_without_video(post: Post) -> None:
    mmif = '{"metadata": {"mmif": "http://mmif.clams.ai/1.0.0"}, "documents": [], "views": []}'
    assert "no VideoDocument" in error(post(mmif, 500))


def test_a_missing_file_fails_the_call(post: Post, broadcast: Broadcast) -> None:
    mmif = swt_mmif(broadcast).replace(broadcast.path.name, "gone.mp4")
    assert "gone.mp4" in error(post(mmif, 500))


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_an_unreadable_file_fails_the_call_and_is_named(post: Post, tmp_path: Path, content: bytes) -> None:
    video = render(tmp_path / "tape.mp4", (Segment("slate", "blue", 0, 2),))
    mmif = swt_mmif(video)
    video.path.write_bytes(content)
    assert "tape.mp4" in error(post(mmif, 500))


def test_an_error_does_not_overwrite_an_earlier_run(post: Post, broadcast: Broadcast) -> None:
    first = post(swt_mmif(broadcast), tfLabels="slate")
    failed = post(first, 500, topP="9")
    assert captions(failed) == captions(first)
    assert "topP" in error(failed)


def test_an_unknown_label_yields_a_warning_and_no_view_of_captions(post: Post, broadcast: Broadcast) -> None:
    answer = post(swt_mmif(broadcast), tfLabels="commercial")
    assert caption_views(answer) == []
    assert any("commercial" in warning and "slate" in warning for warning in warnings(answer))


def test_timeframes_without_representatives_are_named(post: Post, broadcast: Broadcast) -> None:
    answer = post(interval_mmif(broadcast, labels=["slate"]))
    assert caption_views(answer) == []
    assert any("v_0:tf_1 was skipped: it has no representatives" in warning for warning in warnings(answer))


def test_concurrent_calls_keep_captions_and_warnings_apart(post: Post, broadcast: Broadcast) -> None:
    answers: dict[str, str] = {}
    together = threading.Barrier(6, timeout=60)

    def call(label: str) -> None:
        together.wait()
        answers[label] = post(swt_mmif(broadcast), tfLabels=[label, f"not-{label}"], **{f"odd-{label}": "1"})

    labels = ["slate", "chyron", "credits", "bars", "programme", "nothing"]
    threads = [threading.Thread(target=call, args=[label]) for label in labels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for label in labels:
        told = " ".join(warnings(answers[label]))
        assert f"odd-{label}" in told
        assert not any(f"odd-{other}" in told for other in labels if other != label)
        if label != "nothing":
            assert {caption.text.split()[0] for caption in captions(answers[label])} == {label}


def test_generate_keeps_the_sdks_contract(captioner: SmolVLM2Captioner) -> None:
    blue, red = (draw_card(Card(*card), (640, 480)) for card in (("slate", "blue", 12), ("chyron", "red", 34)))
    assert captioner.generate(["Describe."], images=[[blue], [red], [red, blue]], max_new_tokens=50) == [
        "slate 0012 blue",
        "chyron 0034 red",
        "chyron 0034 red; slate 0012 blue",
    ]
    assert len(captioner.generate(["Who are you?"])) == 1
    assert captioner.generate(["Describe."], images=[]) == []
    with pytest.raises(ValueError, match="audios"):
        captioner.generate(["Describe."], audios=[[b""]])
    batched = captioner.generate_batched(["Describe."], images=[[blue], [red]], parallel_prompts=1, maxNewTokens=50)
    assert batched == ["slate 0012 blue", "chyron 0034 red"]
