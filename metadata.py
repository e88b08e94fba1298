"""
The metadata of the app.

The CLAMS SDK and its tools look for this file by its name. It imports neither torch nor vllm. The app directory runs it
with the SDK and nothing else installed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clams.app import ClamsApp, ClamsHFPromptableApp
from clams.appmetadata import AppMetadata, generate_app_version
from mmif import AnnotationTypes, DocumentTypes
from pydantic import AnyHttpUrl

from engine.checkpoint import MODEL_ID, REVISION

NAME = "SmolVLM2 Captioner"
IDENTIFIER = "smolvlm2-captioner"
URL = "https://github.com/clamsproject/app-smolvlm2-captioner"

DESCRIPTION = (
    "Captions the segments of a video that another app has found. For each input TimeFrame (slates, chyrons, credits, "
    "any label chosen with `tfLabels`) the frames sampled from it go to SmolVLM2-2.2B-Instruct as one multi-image "
    "prompt, and the one answer becomes a TextDocument aligned with the TimeFrame. A call runs a single `prompt`; to "
    "ask different questions of different labels (say, one of slates and another of chyrons), run the app once per "
    "(`prompt`, `tfLabels`) combination. Only the 2.2B-Instruct variant is shipped, the largest and most general of "
    "its family; the smaller releases (256M and 500M) were trained further for questions about videos and are not "
    "expected to generalise as well. The model runs in an in-process vLLM engine with paged attention and continuous "
    "batching: the prompts of all calls to a server share the GPU, and `parallelPrompts` says how many of a call's "
    "prompts are in flight in it at once."
)

PROMPT = (
    "You are looking at one or more frames sampled from a single segment of a news video. Describe what is shown, the "
    "purpose of this segment in the broader news video, and transcribe any visible text. Produce one consolidated "
    "caption across all provided frames."
)

PARALLEL_PROMPTS = (
    "Number of independent prompts of this call that may be in flight in the engine at once. The moment one is done "
    "the next goes in, and the engine batches them with those of other calls. The engine's memory is set at its start "
    "and does not grow with this number: prompts that don't fit wait. The *size* of each prompt (how many images, how "
    "long the system/user text is, etc.) is NOT regulated by this parameter; a prompt must fit the model's context "
    "whatever this number is, and `tfSamplingMode=all` on a TimeFrame without `targets` expands that TimeFrame into "
    "one image per native-FPS frame (300 images for a 10-second TimeFrame at 30fps): bound it with "
    "`maxImagesPerPrompt`. `1` sends one prompt after the other; 8 to 32 keep a GPU busy."
)

MAX_NEW_TOKENS = (
    " Room for this many is kept free when frames are made to fit (see `contextOverflow`); more than the model has "
    "room for is reduced, with a warning. A caption that reaches the maximum is kept, and its TextDocument has the "
    "property `finishReason` with the value `length`: the rest of what the model would have said is missing."
)

# This app's own parameters. Numbers of frames are those of docs/context.md.
OWN_PARAMETERS: tuple[dict[str, Any], ...] = (
    {
        "name": "longestEdge",
        "type": "integer",
        "default": 0,
        "description": (
            "How large the model sees each frame: its longest side, in pixels. `0` is the model's own size, the "
            "sharpest: 1536 for SmolVLM2-2.2B. It also takes 1152, 768 and 384; anything else is refused with the "
            "list of what the model takes. Sharper frames show smaller print, but take more of the space that the "
            "model has for one prompt: at 1536 about 7 standard-definition frames fit into one, at 1152 about 9, at "
            "768 about 18, at 384 about 94, and fewer pixels are also faster. Keep `0` to read slates, chyrons and "
            "credits; 768 or 384 will do to tell what a scene shows. When a TimeFrame has more frames than fit, see "
            "`contextOverflow`."
        ),
    },
    {
        "name": "contextOverflow",
        "type": "string",
        "choices": ["shrink", "skip"],
        "default": "shrink",
        "description": (
            "What to do with a TimeFrame whose frames are too many for one prompt at `longestEdge`. `shrink`: show "
            "them all, smaller, at the largest size at which they fit; a warning says from which size to which, and "
            "the TextDocument has the new one as its property `longestEdge`. `skip`: leave the TimeFrame without a "
            "caption rather than with one from smaller frames. A TimeFrame whose frames do not fit at the smallest "
            "size either is left out with both; the warning then says how many tokens (the model's unit of space) it"
            " needs, how many there are, and which `maxImagesPerPrompt` would have it captioned in parts."
        ),
    },
    {
        "name": "frameFormat",
        "type": "string",
        "choices": ["images", "video"],
        "default": "images",
        "description": (
            "How the frames of a TimeFrame are presented. `images`: as so many pictures, at `longestEdge`; best for "
            "reading text. `video`: as moments of one video, in the words that SmolVLM2 was trained on for videos: "
            "how many frames there are and how long the TimeFrame is, then each frame after its time from the "
            "TimeFrame's start. Best for what happens over time, with many frames (`tfSamplingMode=all`). Every "
            "frame then has the model's smallest size, so that about 84 fit into one prompt, and `longestEdge` has "
            "to be `0`."
        ),
    },
    {
        "name": "seed",
        "type": "integer",
        "default": -1,
        "description": (
            "Makes captions repeatable when `temperature` is above 0: the same input, parameters and seed (an "
            "integer from 0) give the same captions, whatever else the model is busy with. Each prompt of a call "
            "draws its own random numbers, derived from the seed and the TimeFrame. `-1` is no seed: each call draws"
            " anew. Has no effect at `temperature` 0, which is repeatable by itself."
        ),
    },
    {
        "name": "outputSchema",
        "type": "string",
        "default": "",
        "description": (
            "Makes each caption JSON: of a JSON Schema that is given here, or of one that comes with the app, by its "
            "name: `slate`, `chyron` or `credits`. The model can then say nothing that is not valid, and the "
            "TextDocument's `mime` is `application/json`. A caption that `maxNewTokens` cut short is not: it has no "
            "such `mime`, its `finishReason` is `length`, and a warning names it. A shipped schema brings with it the "
            "`prompt` and the `maxNewTokens` that suit it, if none are given; with one of your own, say in `prompt` "
            "what is to be filled in. Not all of JSON Schema can be enforced; what can't is refused with its place, "
            "before anything runs (docs/structured.md has the list). In `promptMode` `user-only`, the last reply is "
            "held to it."
        ),
    },
    {
        "name": "outputChoices",
        "type": "string",
        "multivalued": True,
        "default": [],
        "description": (
            "Makes each caption one of these texts: the one that the model is most likely to begin its answer with, "
            "or, with `temperature` above 0, one drawn by those probabilities (`topP`, `topK` and `maxNewTokens` have "
            "no effect). Give two to 100. With `captionConfidence` the TextDocument has the probability of each."
        ),
    },
    {
        "name": "captionConfidence",
        "type": "boolean",
        "default": False,
        "description": (
            "Whether to say how sure the model was of each caption, so that the doubtful ones can be read first. The "
            "TextDocument then has two more properties, both from 0 to 1: `confidence`, the geometric mean of the "
            "probabilities that the model gave to the tokens (pieces of words) of the caption, its end included, and "
            "`lowestTokenProbability`, that of the one it was least sure of. They are the model's own, whatever "
            "`temperature`, `topP`, `topK` and `repetitionPenalty` made of them; with `outputSchema`, among the tokens "
            "that it allows at that place. With `outputChoices`, `confidence` is the probability of the chosen text "
            "among all, `choiceProbabilities` has that of each, and `anyChoiceProbability` tells how likely the model "
            "would have begun with any of them of itself."
        ),
    },
    {
        "name": "repetitionPenalty",
        "type": "number",
        "default": 1,
        "description": (
            "Above 1 (up to 2), makes the model avoid tokens that the prompt or the caption already has, each time by "
            "dividing their score by this number; 1.1 is a usual value. It also keeps the model from saying again "
            "what it has every reason to: names in credits, words of the question, digits. `1` is off, less than 1 "
            "has the model repeat itself. To cut captions that go in circles and leave all others as they are, see "
            "`repetitionGuard`."
        ),
    },
    {
        "name": "repetitionGuard",
        "type": "boolean",
        "default": False,
        "description": (
            "Whether to stop a caption that goes in circles: one that ends with three times the same 8 to 64 tokens, "
            "or with 24 tokens that are a shorter pattern over and over. It is cut after the first round of what is "
            "repeated, and its TextDocument has the property `finishReason` with the value `repetition`."
        ),
    },
)


def appmetadata() -> AppMetadata:
    """
    Build the metadata; of the model that is configured, so that it names what really runs.

    :raises SettingsError: if the configured model is none that can run
    """
    model, revision = _model()
    metadata = AppMetadata(
        name=NAME,
        description=DESCRIPTION,
        app_license="Apache 2.0",
        app_version=generate_app_version(Path(__file__).resolve().parent),
        identifier=IDENTIFIER,
        url=URL,
        analyzer_versions={model: revision},
        analyzer_license="Apache 2.0",
        est_gpu_mem_min=5000,
        est_gpu_mem_typ=7000,
    )
    # The SDK looks for the version beside whichever program runs; a test or a tool would change the app's name.
    metadata.identifier = AnyHttpUrl(f"http://apps.clams.ai/{IDENTIFIER}/{metadata.app_version}")
    _add_input_and_output(metadata)
    metadata.add_parameter(
        name="tfLabels",
        type="string",
        multivalued=True,
        default=[],
        description="Label(s) of input TimeFrame annotations to caption. By default (`[]`), all TimeFrames are "
        "processed regardless of label. To restrict to specific labels, pass this parameter one or more times.",
    )
    ClamsHFPromptableApp.inject_promptable_parameters(metadata)
    for parameter in metadata.parameters:
        if parameter.name == "prompt":
            parameter.default = PROMPT
        elif parameter.name == "maxNewTokens":
            parameter.default = 200
            parameter.description += MAX_NEW_TOKENS
        elif parameter.name == "temperature":
            parameter.description += " At most 2."
        elif parameter.name == "parallelPrompts":
            parameter.description = PARALLEL_PROMPTS
    for own in OWN_PARAMETERS:
        metadata.add_parameter(**own)
    return metadata


def _model() -> tuple[str, str]:
    """Name and revision of the model that is configured; the pinned one where settings can't be read."""
    if find_spec("pydantic_settings") is None:
        return MODEL_ID, REVISION
    from engine.settings import EngineSettings
    from models import choose

    model = choose(EngineSettings.read().model)
    return model.id, model.revision


def _add_input_and_output(metadata: AppMetadata) -> None:
    metadata.add_input(DocumentTypes.VideoDocument)
    time_frame = metadata.add_input(AnnotationTypes.TimeFrame, representatives="?", label="*")
    time_frame.add_description(
        "Labeled TimeFrame annotations selecting which video segments to caption. Frame selection within each segment "
        "is controlled by the universal `tfSamplingMode` parameter (see SDK docs). When present, the `representatives` "
        "property is consumed for representative-based sampling modes. Filter by label with the `tfLabels` parameter."
    )
    text = metadata.add_output(DocumentTypes.TextDocument, origins="*", origination="derived")
    text.add_description(
        "Caption text generated by the SmolVLM2 model for the images of one prompt. The `origins` property lists the "
        "`TimePoint`s anchoring the images, in frame order (an existing TimePoint reused when one already backs the "
        "image, or a TimePoint newly created in this view when the image was sampled from a TimeFrame interval without "
        "a backing TimePoint)."
    )
    alignment = metadata.add_output(AnnotationTypes.Alignment)
    alignment.add_description("Alignment between each parent TimeFrame and the TextDocument(s) derived from it.")
    time_point = metadata.add_output(AnnotationTypes.TimePoint, timeUnit="milliseconds", timePoint="*")
    time_point.add_description(
        "Optional output. Newly-created TimePoint annotations for images that were sampled from a TimeFrame interval "
        "without an existing backing TimePoint (see `tfSamplingMode`). When every sampled image came from an existing "
        "TimePoint, no TimePoints are created"
    )


if __name__ == "__main__":
    import sys

    app_metadata = appmetadata()
    for universal in ClamsApp.universal_parameters:
        app_metadata.add_parameter(**universal)
    sys.stdout.write(app_metadata.jsonify(pretty=True))
