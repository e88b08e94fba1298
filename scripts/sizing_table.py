"""
The table of docs/sizing.md: what a KV cache of some size has room for. ``python -m scripts.sizing_table`` writes it.

Caches are those that the app chooses by the card, tokens those that its processor counts.
"""

from bench import cost, geometry
from engine.context import Context
from engine.settings import GIB, kv_cache_for
from scripts.context_table import ANSWER, default_prompt
from scripts.pages import DOCS, filled

PAGE = DOCS / "sizing.md"
CARDS = (16, 24, 40, 48, 80)  # GiB
SD = (640, 480)
# Frames of a prompt, and their longest edge in px.
PROMPTS = ((1, 1536), (3, 1536), (3, 768), (1, 384))


def table() -> str:
    """Return the table in Markdown."""
    context = Context(geometry.processor(), geometry.CONTEXT)
    costs = [context.prompt_tokens(default_prompt(frames), [SD] * frames, edge) + ANSWER for frames, edge in PROMPTS]
    heads = [f"{frames} frame{'s' if frames > 1 else ''} at {edge} px" for frames, edge in PROMPTS]
    lines = [f"| card | KV cache | tokens in it | {' | '.join(heads)} |", "|---" * (3 + len(heads)) + "|"]
    lines.append(f"| | | | {' | '.join(f'{cost} tokens' for cost in costs)} |")
    for card in CARDS:
        cache = kv_cache_for(card)
        held = int(cache * GIB) // cost.cache_bytes(geometry.SMOLVLM2_2B)
        cells = " | ".join(f"{held // cost} prompts" for cost in costs)
        lines.append(f"| {card} GiB | {cache:g} GiB | {held} | {cells} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/sizing.md with a fresh table."""
    return filled(PAGE, "scripts.sizing_table", table())


if __name__ == "__main__":
    PAGE.write_text(page())
