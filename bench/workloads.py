"""
What is captioned while something is measured: the same prompts for every contender, and frames that no cache holds.

Frames that a contender is given have a mark of their turn. Who reads the video itself sees none: its frames come again
when it has read all others, which are more than the KV cache of `bench/models.py` holds.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

FOLDER = Path("build/bench")

# How long captions are, in tokens: the deciles of a log-normal distribution whose median is 60 and whose tails are
# those of one word and of a full screen of credits, cut at maxNewTokens' default.
LENGTHS = (10, 20, 32, 44, 56, 68, 82, 104, 140, 200)
# How many frames a TimeFrame has. swt-detection 7 names one representative; older versions, and instants chosen by
# tfSamplingMode=all at a second's distance, a few; maxImagesPerPrompt ends it.
FRAMES = (1, 1, 1, 1, 1, 2, 2, 3, 3, 5)

SECONDS = 600  # of the broadcast, but for a quick run
QUICK_SECONDS = 90
BROADCAST_FRAMES = 3


@dataclass(frozen=True)
class Prompt:
    """
    One caption to be made.

    :param instants: of its frames, ms
    :param tokens: how long its caption may be; in an exact workload, how long it is
    """

    video: str
    instants: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Workload:
    """
    The prompts of one round.

    :param exact: captions are as long as they may be, whatever the model would say
    :param text: what is asked of every prompt
    :param longest_edge: px to which frames are resized; 0 is the model's own
    :param mark: other than 0, it is drawn into a corner pixel of every frame, which makes it a fresh one to any cache
    """

    name: str
    prompts: tuple[Prompt, ...]
    exact: bool
    text: str
    longest_edge: int = 0
    mark: int = 0

    def images(self) -> "list[list[Image.Image]]":
        """Decode the frames of every prompt."""
        from sampling.video import ByteBudget, read_groups

        found: dict[int, list[Image.Image]] = {}
        for video in dict.fromkeys(prompt.video for prompt in self.prompts):
            numbers = [number for number, prompt in enumerate(self.prompts) if prompt.video == video]
            instants = [self.prompts[number].instants for number in numbers]
            with read_groups(video, instants, budget=ByteBudget()) as reader:
                for group in reader:
                    found[numbers[group.index]] = [
                        _marked(frame.image, self.mark) for frame in group.frames if frame is not None
                    ]
                    group.release()
        return [found[number] for number in range(len(self.prompts))]

    def messages(self, frames: int) -> list[dict[str, Any]]:
        """Return the chat messages of a prompt with so many frames."""
        content: list[dict[str, str]] = [{"type": "image"}] * frames
        return [{"role": "user", "content": [*content, {"type": "text", "text": self.text}]}]

    def mmif(self) -> str:
        """Return a MMIF with a TimeFrame for each prompt, in the manner of swt-detection; its label is its length."""
        from mmif import AnnotationTypes, Document, DocumentTypes, Mmif

        mmif = Mmif(validate=False)
        documents = {}
        for number, video in enumerate(dict.fromkeys(prompt.video for prompt in self.prompts), start=1):
            document = Document()
            document.at_type = DocumentTypes.VideoDocument
            document.id = documents[video] = f"d{number}"
            document.location = f"file://{Path(video).resolve()}"
            mmif.add_document(document)
        points, frames = mmif.new_view(), mmif.new_view()
        for view, at_type in ((points, AnnotationTypes.TimePoint), (frames, AnnotationTypes.TimeFrame)):
            view.metadata.app = "http://apps.clams.ai/swt-detection/v7.5"
            view.new_contain(at_type, timeUnit="milliseconds")
        for prompt in self.prompts:
            own = [
                points.new_annotation(AnnotationTypes.TimePoint, timePoint=ms, document=documents[prompt.video]).id
                for ms in prompt.instants
            ]
            frames.new_annotation(AnnotationTypes.TimeFrame, label=f"{prompt.tokens}", targets=own, representatives=own)
        return str(mmif.serialize())


def mixed(count: int, turn: int, *, longest_edge: int = 0, quick: bool = False) -> Workload:
    """
    Make prompts with as many frames as real TimeFrames have, and captions of 10 to 200 tokens.

    :param count: of prompts; in every ten, each number of ``FRAMES`` and of ``LENGTHS`` occurs once
    :param turn: other turns have other frames at the same cost; after ``SECONDS`` of video, frames come again
    """
    rng = random.Random(0)
    shapes: list[tuple[int, int]] = []
    while len(shapes) < count:
        shapes += list(zip(rng.sample(FRAMES, len(FRAMES)), rng.sample(LENGTHS, len(LENGTHS))))
    if quick:
        shapes = [(frames, max(2, tokens // 8)) for frames, tokens in shapes]
    return _workload("mixed", shapes[:count], turn, exact=True, longest_edge=longest_edge, quick=quick)


def uniform(count: int, turn: int, *, frames: int, tokens: int, longest_edge: int = 0, quick: bool = False) -> Workload:
    """Make prompts that are all alike."""
    return _workload("uniform", [(frames, tokens)] * count, turn, exact=True, longest_edge=longest_edge, quick=quick)


def broadcast(count: int, turn: int, *, longest_edge: int = 0, quick: bool = False, part: int = 0) -> Workload:
    """
    Make prompts of three frames of the synthetic broadcast, whose captions end where the model ends them.

    :param part: see :func:`video`
    """
    shapes = [(BROADCAST_FRAMES, 200)] * count
    return _workload("broadcast", shapes, turn, exact=False, longest_edge=longest_edge, quick=quick, part=part)


def fresh_prompts(quick: bool = False) -> int:
    """Return how many prompts :func:`broadcast` makes, in turns of one or more, before frames come again."""
    return (_seconds(quick) - BROADCAST_FRAMES) // BROADCAST_FRAMES


WORKLOADS = {"mixed": mixed, "broadcast": broadcast}


def of_mmif(
    files: Sequence[Path],
    turn: int,
    *,
    longest_edge: int = 0,
    sampling_mode: str = "representatives",
    tokens: int = 200,
) -> Workload:
    """Make the prompts that the app would make of real files, whose captions end where the model ends them."""
    from mmif import Mmif

    from app import get_app
    from captioning.parameters import Parameters
    from captioning.plan import plan

    refined = get_app()._refine_params(tfSamplingMode=[sampling_mode], maxNewTokens=[str(tokens)])
    parameters = Parameters.of(refined)
    prompts = [
        Prompt(str(task.path), tuple(instant.ms for instant in task.instants), tokens)
        for file in files
        for task in plan(Mmif(file.read_text()), parameters).tasks
    ]
    return Workload("files", tuple(prompts), False, _question(), longest_edge, mark=turn + 1)


def video(quick: bool = False, part: int = 0) -> Path:
    """
    Return the synthetic broadcast, rendered if it isn't there.

    :param part: of it, each a file that begins when the one before ends; every frame shows its second, so that no two
        parts have one in common
    """
    from demo.broadcast import NTSC, make_segments, render

    seconds = _seconds(quick)
    path = FOLDER / f"broadcast-{seconds}s{f'-{part}' if part else ''}.mp4"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.mp4")
        begin = part * seconds
        render(unfinished, make_segments(seconds, seed=7, start=begin), offset_frames=math.ceil(begin * NTSC))
        unfinished.replace(path)
    return path


def _seconds(quick: bool) -> int:
    return QUICK_SECONDS if quick else SECONDS


def _workload(
    name: str,
    shapes: Sequence[tuple[int, int]],
    turn: int,
    *,
    exact: bool,
    longest_edge: int,
    quick: bool,
    part: int = 0,
) -> Workload:
    path = str(video(quick, part))
    last = _seconds(quick) - max(frames for frames, _ in shapes)
    second = turn * sum(frames for frames, _ in shapes)
    prompts = []
    for frames, tokens in shapes:
        start = part * _seconds(quick) + second % last
        prompts.append(Prompt(path, tuple(1000 * (start + n) + 500 for n in range(frames)), tokens))
        second += frames
    return Workload(name, tuple(prompts), exact, _question(), longest_edge, mark=turn + 1)


def _marked(image: "Image.Image", mark: int) -> "Image.Image":
    if not mark:
        return image
    own = image.copy()  # frames may share one picture
    own.putpixel((0, 0), (mark & 255, mark >> 8 & 255, mark >> 16 & 255))
    return own


def _question() -> str:
    # Not at the top: a contender's process needs none of the SDK, and vLLM's start stumbles over Flask in it.
    from metadata import PROMPT

    return PROMPT
