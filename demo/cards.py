"""Synthetic broadcast frames: each shows its kind, its colour and, burned in, the second it belongs to."""

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

KINDS = ("slate", "chyron", "credits", "bars", "programme")
COLOURS = {
    "red": (205, 35, 40),
    "green": (35, 150, 60),
    "blue": (35, 75, 205),
    "yellow": (230, 210, 45),
    "purple": (140, 50, 170),
    "orange": (240, 135, 25),
    "grey": (125, 125, 125),
    "white": (235, 235, 235),
}
DIGITS = 4
NUMBER_HEIGHT = 0.40  # of the frame's height, if the width allows
NUMBER_WIDTH = 0.88  # of the frame's width, at most
SMPTE = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))


@dataclass(frozen=True)
class Card:
    """What a frame shows."""

    kind: str
    colour: str
    second: int

    @property
    def phrase(self) -> str:
        """What the model says of it, `slate 0042 blue`."""
        return f"{self.kind} {self.second:0{DIGITS}d} {self.colour}"


@dataclass(frozen=True)
class Jitter:
    """How a frame departs from the standard drawing; the default is no departure at all."""

    dx: float = 0.0  # of the number, as a share of the frame's width
    dy: float = 0.0  # of the number, as a share of the frame's height
    scale: float = 1.0  # of the number
    tint: tuple[int, int, int] = (0, 0, 0)  # added to the colour
    scene: int = 0  # which of the invented texts and scenes

    @staticmethod
    def random(rng: random.Random, amount: float = 1.0) -> "Jitter":
        """Up to 3 % in place, 12 % in size and 12 levels of tint, times `amount`."""

        def around(span: float) -> float:
            return rng.uniform(-span, span) * amount

        tint = (int(around(12)), int(around(12)), int(around(12)))
        return Jitter(around(0.03), around(0.03), 1 - 0.06 * amount + around(0.06), tint, rng.randrange(1 << 16))


def caption(cards: list[Card]) -> str:
    """What the model says of several frames, in order: `slate 0042 blue; chyron 0137 red`."""
    return "; ".join(card.phrase for card in cards)


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)  # type: ignore[return-value]


@lru_cache(maxsize=64)
def _number_size(width: int, height: int) -> float:
    """The font size in px at which four digits are `NUMBER_HEIGHT` high or `NUMBER_WIDTH` wide, whichever is less."""
    left, top, right, bottom = _font(200).getbbox("0" * DIGITS)
    return 200 * min(height * NUMBER_HEIGHT / (bottom - top), width * NUMBER_WIDTH / (right - left))


def _number(draw: ImageDraw.ImageDraw, second: int, centre: float, jitter: Jitter) -> None:
    width, height = draw.im.size
    size = _number_size(width, height) * jitter.scale
    draw.text(
        (width * (0.5 + jitter.dx), height * (centre + jitter.dy)),
        f"{second:0{DIGITS}d}",
        font=_font(max(8, round(size))),
        fill=(255, 255, 255),
        anchor="mm",
        stroke_width=max(1, round(size * 0.06)),
        stroke_fill=(8, 8, 8),
    )


def _text(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, height: float, fill: tuple[int, int, int]) -> None:
    """One line of small print; shares of the frame's width and height."""
    width, frame_height = draw.im.size
    draw.text((x * width, y * frame_height), text, font=_font(max(6, round(height * frame_height))), fill=fill)


def _mix(colour: tuple[int, int, int], other: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _box(draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, fill: tuple[int, int, int]) -> None:
    width, height = draw.im.size
    draw.rectangle((x0 * width, y0 * height, x1 * width - 1, y1 * height - 1), fill=fill)


NAMES = ("M. HARROW", "J. OKAFOR", "L. PETERSEN", "A. MORENO", "R. WHITLOCK", "D. SATO", "E. LINDQVIST", "T. BAPTISTE")
ROLES = ("REPORTER", "PRODUCER", "DIRECTOR", "EDITOR", "CAMERA", "SOUND", "MAYOR", "PROFESSOR")


def _slate(draw: ImageDraw.ImageDraw, colour: tuple[int, int, int], scene: random.Random) -> float:
    """A board in the colour under the stripes of a clapper."""
    width, height = draw.im.size
    _box(draw, 0, 0, 1, 1, colour)
    _box(draw, 0, 0, 1, 0.2, (245, 245, 245))
    step = width / 6
    for i in range(-1, 7):
        x = i * step
        draw.polygon(
            ((x, 0), (x + step / 2, 0), (x + step, 0.2 * height), (x + step / 2, 0.2 * height)), fill=(15, 15, 15)
        )
    ink = (20, 20, 20) if sum(colour) > 380 else (245, 245, 245)
    _text(draw, 0.04, 0.22, f"PROD. {scene.choice(NAMES)}", 0.055, ink)
    _text(draw, 0.6, 0.22, f"TAKE {scene.randint(1, 9)}", 0.055, ink)
    _text(draw, 0.04, 0.9, f"DIR. {scene.choice(NAMES)}", 0.055, ink)
    _text(draw, 0.6, 0.9, f"REEL {scene.randint(1, 40)}", 0.055, ink)
    return 0.57


def _scenery(draw: ImageDraw.ImageDraw, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> None:
    for i in range(16):
        _box(draw, 0, i / 16, 1, (i + 1) / 16, _mix(top, bottom, i / 15))


def _person(draw: ImageDraw.ImageDraw, x: float, skin: int) -> None:
    width, height = draw.im.size
    tone = ((222, 184, 150), (150, 105, 75), (95, 65, 50))[skin % 3]
    draw.ellipse(((x - 0.2) * width, 0.6 * height, (x + 0.2) * width, 1.3 * height), fill=(45, 48, 60))
    draw.ellipse(((x - 0.08) * width, 0.28 * height, (x + 0.08) * width, 0.66 * height), fill=tone)


def _chyron(draw: ImageDraw.ImageDraw, colour: tuple[int, int, int], scene: random.Random) -> float:
    """A speaker in a dim room, and a band in the colour across the lower third with a name and a role."""
    _scenery(draw, (72, 78, 92), (52, 50, 54))
    _person(draw, scene.uniform(0.3, 0.7), scene.randrange(3))
    _box(draw, 0, 0.66, 1, 0.94, colour)
    _box(draw, 0, 0.66, 1, 0.68, (250, 250, 250))
    ink = (20, 20, 20) if sum(colour) > 380 else (245, 245, 245)
    _text(draw, 0.06, 0.71, scene.choice(NAMES), 0.1, ink)
    _text(draw, 0.06, 0.83, scene.choice(ROLES), 0.07, ink)
    return 0.36


def _credits(draw: ImageDraw.ImageDraw, colour: tuple[int, int, int], scene: random.Random) -> float:
    """Lines of roles and names on black, between two posts in the colour."""
    _box(draw, 0, 0, 1, 1, (12, 12, 14))
    for i in range(9):
        y = 0.03 + i * 0.108
        _text(draw, 0.2, y, scene.choice(ROLES), 0.06, (200, 200, 200))
        _text(draw, 0.54, y, scene.choice(NAMES), 0.06, (235, 235, 235))
    _box(draw, 0, 0, 0.14, 1, colour)
    _box(draw, 0.86, 0, 1, 1, colour)
    return 0.5


def _bars(draw: ImageDraw.ImageDraw, colour: tuple[int, int, int], scene: random.Random) -> float:
    """Colour bars over a band in the colour."""
    for i, bar in enumerate(SMPTE):
        _box(draw, i / 7, 0, (i + 1) / 7 + 0.01, 0.7, bar)
    _box(draw, 0, 0.7, 1, 1, colour)
    _text(draw, 0.35, 0.88, f"TONE {scene.randint(1, 9)} KHZ", 0.06, (20, 20, 20))
    return 0.36


def _programme(draw: ImageDraw.ImageDraw, colour: tuple[int, int, int], scene: random.Random) -> float:
    """A landscape under a sky in the colour, with hills and a sun."""
    width, height = draw.im.size
    _scenery(draw, colour, _mix(colour, (255, 255, 255), 0.15))
    x = scene.uniform(0.1, 0.9)
    draw.ellipse(((x - 0.07) * width, 0.03 * height, (x + 0.07) * width, 0.2 * height), fill=(250, 245, 225))
    phase = scene.uniform(0, 6)
    ridge = [(i / 24 * width, (0.79 + 0.06 * math.sin(i / 3 + phase)) * height) for i in range(25)]
    draw.polygon([(0, height), *ridge, (width, height)], fill=(38, 62, 40))
    return 0.45


PAINTERS = {"slate": _slate, "chyron": _chyron, "credits": _credits, "bars": _bars, "programme": _programme}


def draw_card(card: Card, size: tuple[int, int] = (640, 480), jitter: Jitter = Jitter()) -> Image.Image:
    """Draws one frame.

    :param card: what it shows; `card.second` must be 0 to 9999
    :param size: width and height in px
    :param jitter: departures from the standard drawing; the same arguments give the same pixels
    :returns: an RGB image of that size
    """
    if card.kind not in PAINTERS or card.colour not in COLOURS or not 0 <= card.second < 10**DIGITS:
        raise ValueError(f"cannot draw {card}: kinds are {KINDS}, colours {tuple(COLOURS)}, seconds 0 to 9999")
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    red, green, blue = (min(255, max(0, a + b)) for a, b in zip(COLOURS[card.colour], jitter.tint, strict=True))
    centre = PAINTERS[card.kind](draw, (red, green, blue), random.Random(jitter.scene))
    _number(draw, card.second, centre, jitter)
    return image
