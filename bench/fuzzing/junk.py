"""Values that programs stumble over."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# JSON as text, since some of it json.dumps doesn't write.
VALUES = (
    "null", "true", "false", "0", "-0", "-1", "1", "1.5", "1e308", "1e999", "-1e999", "NaN", "Infinity", "-Infinity",
    "9007199254740993", "18446744073709551616", "1" * 400, "1" * 5000, "0.1e-400", '""', '" "', '"\\ud800"',
    '"\\u0000"', "[]", "{}", "[[]]", '[{}]', '{"a":1,"a":2}', "[1,]", "{'a': 1}", "01", "+1", ".5", "0x10", "nul", "",
)  # fmt: skip
NAMES = (
    "id", "@type", "properties", "metadata", "views", "documents", "annotations", "contains", "document", "location",
    "start", "end", "targets", "representatives", "timePoint", "timeUnit", "label", "fps", "mime", "text", "__class__",
    "constructor", "self", "d1", "tf_1", "tp_1", "v_0", "v_0:tf_1", "v_1:v_1:tf_1", "milliseconds", "hours", "frame",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2, 500, 1000, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308)
TEXTS = (
    "", " ", "\x00", "\n", "é", "\u202e", "\ud800", "\U0001f3ac", "<image>", "<fake_token_around_image>",
    "<end_of_utterance>", "<|im_start|>", "{{ 7*7 }}", "%s%n", "../../etc/passwd", "'; --", "<script>", "None", "nan",
    "inf", "-1", "0", "1e999", "1_000", "\u0661", "true", "a" * 300, "<row_1_col_1>", "v_0:d1", "v_1:tf_1", "file:///",
)  # fmt: skip


def odd_text(chance: random.Random) -> str:
    """Text of another kind than expected."""
    if chance.random() < 0.15:
        return "".join(chr(chance.choice([chance.randrange(0xD800), chance.randrange(0x10000)])) for _ in range(9))
    if chance.random() < 0.03:
        return chance.choice(TEXTS[2:]) * chance.choice([100, 5000])
    return chance.choice(TEXTS)


def tree(chance: random.Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = chance.choice(["name", "text", "number", "constant", "list", "object"] if depth else ["name", "number"])
    if kind == "list":
        return [tree(chance, depth - 1) for _ in range(chance.choice([0, 1, 3, 12]))]
    if kind == "object":
        return {
            chance.choice([chance.choice(NAMES), odd_text(chance)]): tree(chance, depth - 1)
            for _ in range(chance.choice([0, 1, 4]))
        }
    if kind == "constant":
        return chance.choice([None, True, False])
    if kind == "text":
        return odd_text(chance)
    return chance.choice(NAMES if kind == "name" else NUMBERS)


def deep(chance: random.Random) -> str:
    """JSON of one value in another in another."""
    depth = chance.choice([100, 900, 5_000, 100_000])
    return chance.choice(["[" * depth + "]" * depth, '{"a":' * depth + "0" + "}" * depth, "[" * depth])


def blob(chance: random.Random) -> bytes:
    """Bytes of no kind."""
    return chance.randbytes(chance.choice([1, 10, 1000, 100_000]))


@dataclass(frozen=True)
class Location:
    """Where a document says that its file is."""

    value: str

    def text(self, chance: random.Random) -> Any:
        """As a MMIF may name it."""
        forms = (
            self.value, f"file://{self.value}", f"file://localhost{self.value}", f"file://elsewhere{self.value}",
            f"file:{self.value}", f"FILE://{self.value}", f"file://{self.value}#t=1", f"file://{self.value}?a=b",
            f"file://{self.value}\x00.mp4", f"concat:{self.value}|{self.value}", f"http://127.0.0.1:9{self.value}",
        )  # fmt: skip
        return chance.choice([*forms, [self.value], {"path": self.value}, odd_text(chance), "", None, 5])


def odd_locations(folder: Path, video: Path) -> list[Location]:
    """
    Make files in ``folder`` that are no videos, and name places that are none either.

    :param video: one that is
    """
    content = video.read_bytes()
    files = {
        "empty.mp4": b"",
        "text.mp4": b"no video\n" * 100,
        "cut.mp4": content[: len(content) // 2],
        "head.mp4": content[:100],
        "noise.mp4": bytes(byte ^ 85 for byte in content[::7]),
        "odd name \u00e9 %41 #?.mp4": b"",
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\n{video}\n".encode(),
        "list.ffconcat": f"ffconcat version 1.0\nfile '{video}'\n".encode(),
        "page.html": b"<video src='/etc/passwd'>",
        "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "data.json": json.dumps({"no": "video"}).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if not (folder / "pipe.mp4").exists():
        os.mkfifo(folder / "pipe.mp4")  # whoever opens it waits for somebody who writes
    special: Sequence[str] = (
        str(video), str(folder), str(folder / "missing.mp4"), str(folder / "pipe.mp4"), "/dev/zero", "/dev/null",
        "/dev/stdin", "/dev/tty", "/proc/self/mem", "/proc/self/fd/0", "/etc/passwd", "/", "~", "relative.mp4",
        "/" + "a" * 5000, "/" + "a/" * 3000,
    )  # fmt: skip
    return [Location(str(folder / name)) for name in files] + [Location(place) for place in special]
