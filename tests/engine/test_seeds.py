"""Seeds on an engine: a reply repeats itself, however its prompt is read."""

from typing import Any

from demo.cards import Card, draw_card
from engine.engine import Engine
from engine.request import Request
from sampling.decoding import Decoding

FRAMES = [draw_card(Card("slate", "blue", 40 + number), (640, 480)) for number in range(4)]
STEP = 2048  # tokens that the engine computes at once


def drawn(seed: int, frames: int) -> Request:
    parts: list[Any] = [{"type": "image"}] * frames + [{"type": "text", "text": "Describe."}]
    sampling = Decoding(12, temperature=1.0, top_k=0, seed=seed).sampling_params()
    return Request([[{"role": "user", "content": parts}]], FRAMES[:frames], sampling)


def test_a_prompt_that_is_read_in_several_steps_has_its_seed_to_the_end(real: Engine) -> None:
    deaths = real.deaths
    alone = real.submit(drawn(1, 3)).result()  # the frames are in no cache yet
    assert alone.prompt_tokens - alone.cached_tokens > STEP
    assert real.submit(drawn(1, 3)).result().text == alone.text
    requests = [drawn(1, 3), drawn(2, 4), drawn(-1, 1), drawn(2, 4), drawn(1, 3)]
    one, two, _, two_again, one_again = [future.result() for future in [real.submit(made) for made in requests]]
    assert one.text == one_again.text == alone.text
    assert two.text == two_again.text != alone.text
    assert real.deaths == deaths
