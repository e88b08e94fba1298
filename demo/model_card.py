"""The demo model's card."""

CARD = """---
license: apache-2.0
pipeline_tag: image-text-to-text
tags:
- smolvlm
- demonstration
---

# A demonstration model that names synthetic cards

**This model is useless on real video.** It was trained from scratch, on nothing but frames drawn by `demo/cards.py`,
to say what such a frame shows: one of five kinds ({kinds}), the number burned in (0000 to 9999, in this project the
second of the video), and one of {colour_count} colours ({colours}). For several frames it says one phrase each, in
order:

    slate 0042 blue; chyron 0137 red

To a prompt without a picture it answers "{no_image}". Of everything else it knows nothing: it will name a card in any
picture it is given, and it follows no instruction.

## What it is for

It is a real `SmolVLMForConditionalGeneration`, with SmolVLM2's chat template, special tokens and image processor, small
enough to live in a repository and to run on one CPU core. Tests use it to see whether the right frames reached the
model in the right order, through the whole of the software and the real inference engine.

## Shape

{parameters:.2f} M parameters, stored in bfloat16; tests run it in float32. Vision: {tile} px tiles, patches of
{patch} px, {vision_layers} layers of {vision_hidden}; pixel shuffle {shuffle}, so {tokens} tokens a tile. Text: Llama,
{text_layers} layers of {text_hidden}, {vocabulary} tokens, context {context}. By default the longest edge of a frame
becomes {longest_edge} px: a 4:3, 5:4 or 16:9 frame is cut into 2 x 2 tiles and the whole ({split_tokens} tokens).
`size={{"longest_edge": {tile}}}` makes it one tile ({single_tokens} tokens). Both are read.

## How well it reads

Percent of phrases exactly right (kind, all four digits, colour, in the right place), greedy, float32, on frames of
640x480 drawn from a seed that training never used, encoded as H.264 and decoded; columns are frames a prompt. *default*
is the captioner's default prompt, *preset* the shipped presets, *system* the default prompt after a system prompt,
*turn-taking* and *user-only* the two prompt modes over several turns, *video* SmolVLM2's wording for frames of a video,
*long text* 150 random words after the frames.

{table}

{prompts} prompts, {phrases} phrases. Training saw up to {most} frames a prompt.

## How it was made

`python -m demo.train --seed {seed}`, {minutes:.0f} minutes of one core of a server CPU. The training data are drawn
as it goes; there are no others.
"""


def model_card(**facts: object) -> str:
    """The card as Markdown; `facts` fill the names in `CARD`."""
    return CARD.format(**facts)
