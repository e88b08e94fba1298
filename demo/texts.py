"""What people ask: the prompts the demo model is trained and tested with, and random text to put around frames."""

import random
from pathlib import Path

import yaml

PRESETS = Path(__file__).resolve().parent.parent / "captioning" / "presets"
DEFAULT_PROMPT = (
    "You are looking at one or more frames sampled from a single segment of a news video. Describe what is shown, "
    "the purpose of this segment in the broader news video, and transcribe any visible text. Produce one "
    "consolidated caption across all provided frames."
)
NO_IMAGE_ANSWER = "No picture was given."

SHORT_PROMPTS = (
    "Describe.",
    "What is this?",
    "Caption",
    "Read the text.",
    "Describe these frames.",
    "Describe the frames in order.",
    "What do you see?",
    "What is shown in these pictures?",
    "Transcribe the text on the screen.",
    "Name every card, one after another.",
    "Describe the image in one sentence.",
    "Give a short caption for this segment.",
    "Can you describe this image?",
    "What happens in this video?",
    "Describe this video in detail.",
    "Summarize the text; be brief.",
    "And now in one line.",
    "Are you sure? Look again.",
    "Answer with the caption only.",
    "List what is written.",
)
SYSTEM_PROMPTS = (
    "You are a careful archivist.",
    "You are a helpful assistant.",
    "You are a cataloguer of public television. Be brief; do not guess.",
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language.",
    "Answer in English. Write plain text without lists or headings.",
    "You describe frames of archival video for a library catalogue. Copy names and numbers exactly as they are shown.",
)
STATEMENTS = (
    "A card.",
    "A slate.",
    "I see a person in a studio.",
    "Yes.",
    "Of course; show me the frames and I will describe them.",
    "The frames come from an evening news broadcast.",
    "It is a production slate with a title, a date and a number.",
    "There is a caption in the lower third of the picture.",
    "I am not sure.",
)
WORDS = tuple(
    """a about above across after again against air all along also an and another any anchor answer archive are around
    as ask at audience away back bar bars be because before below between big black blue board both bottom box break
    bring broadcast building but by call camera can caption car card catalogue centre channel child chyron city clip
    clock close cloud code collection colour come copy corner could country credit credits crew crowd date day describe
    desk detail did director do does door down duration each early edge editor end episode evening every exact eye face
    fact false family few field film find first five footage for four frame frames from front full gave get give go
    good government great green ground group guest had hand hard has have he head headline hear help her here high him
    his home host hour house how I identify if image in interview into is it item join just keep kind know label land
    last late law leave left less letter library light like line list little live local logo long look lower made make
    man many map may me mean medium meeting member middle might minute month more morning most move much music must my
    name near never new news next night no not note nothing now number of off office old on once one only open or order
    other our out over page people person picture place play point police present president press problem producer
    programme public question read real record red reel report reporter right role room run said same say scene school
    screen second see segment sentence series set seven several she short shot should show side sign since sit six
    slate small so some song speak speaker sports stage stand start state station still stop story street student
    studio such take talk tape team tell ten text than that the their them then there these they thing think this those
    three through time title to today together tone too top town transcribe true turn two under until up upper us use
    very video view voice wait walk wall want war was watch water way we weather week well were what when where which
    white who why will with woman word words work world would write year yellow yes yet you young your""".split()  # noqa: SIM905  a list would be 400 lines
)


def preset_prompts() -> dict[str, str]:
    """The prompt of every shipped preset that has its own, by the preset's name, in alphabetical order."""
    presets = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(PRESETS.glob("*.yaml"))}
    return {name: preset["prompt"] for name, preset in presets.items() if "prompt" in preset}


def random_text(rng: random.Random, words: int) -> str:
    """About `words` random words with punctuation, numbers, line breaks, and now and then a word of random letters."""
    out: list[str] = []
    for _ in range(words):
        pick = rng.random()
        if pick < 0.9:
            word = rng.choice(WORDS)
        elif pick < 0.95:
            word = "".join(
                rng.choice("abcdefghijklmnopqrstuvwxyzéüABCDEFGHIJKLMNOPRSTVW'-") for _ in range(rng.randint(2, 7))
            )
        else:
            word = str(rng.randrange(10 ** rng.randint(1, 4)))
        if rng.random() < 0.1:
            word = word.capitalize()
        out.append(word + rng.choices(("", ",", ".", ";", ":", "?", "\n"), (80, 6, 8, 2, 2, 1, 1))[0])
    return " ".join(out).replace("\n ", "\n") or "."


def tokenizer_corpus(seed: int = 0) -> list[str]:
    """The text whose words the tokenizer learns to keep whole: every prompt above many times over, and random text."""
    rng = random.Random(seed)
    fixed = [DEFAULT_PROMPT, NO_IMAGE_ANSWER, *preset_prompts().values(), *SHORT_PROMPTS, *SYSTEM_PROMPTS, *STATEMENTS]
    video = [
        f"You are provided the following series of {count} frames from a 0:01:23 [H:MM:SS] video.\n\nFrame from 00:12:"
        for count in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    ]
    turns = ["User:", "Assistant:", "System:", "\nAssistant:", "\nUser:"]
    return (fixed + video + turns) * 20 + [random_text(rng, 100) for _ in range(100)]
