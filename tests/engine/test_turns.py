"""Calls side by side on one engine: they take turns, and what is cancelled leaves at whatever stage it is."""

from concurrent.futures import Future
from typing import Any

import pytest
from PIL import Image
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from engine.engine import Engine
from engine.request import Completion, Request
from tests.waiting import wait_until

FRAME = Image.new("RGB", (640, 480), "navy")


def request(tokens: int, *, frames: int = 0) -> Request:
    """A prompt whose answer has exactly so many tokens."""
    parts: list[Any] = [{"type": "image"}] * frames + [{"type": "text", "text": "Describe."}]
    sampling = SamplingParams(max_tokens=tokens, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
    return Request([[{"role": "user", "content": parts}]], [FRAME] * frames, sampling)


def submit(call: Any, name: str, prompts: int, made: Request, order: list[str]) -> "list[Future[Completion]]":
    futures = [call.submit(made) for _ in range(prompts)]
    for future in futures:
        future.add_done_callback(lambda _: order.append(name))
    return futures


def at_rest(engine: Engine) -> bool:
    window = engine._prompts.window
    return (engine.in_flight, engine.waiting, engine.unfinished_in_vllm, window.preparing, window.admitted) == (
        0, 0, 0, 0, [],
    )  # fmt: skip


@pytest.mark.parametrize("background", [False, True])
def test_a_call_of_one_does_not_wait_for_a_call_of_two_hundred(engine: Engine, background: bool) -> None:
    order: list[str] = []
    most = 0

    def look(_: object) -> None:
        nonlocal most
        most = max(most, len(engine._prompts.window.admitted))

    big = submit(engine.open_call(background=background), "big", 200, request(4), order)
    for future in big:
        future.add_done_callback(look)
    (small,) = submit(engine.open_call(), "small", 1, request(4), order)
    small.result()
    before = order.index("small")
    for future in big:
        future.result()
    # Those that were in the engine before it, and at most as many that followed them while it was there.
    assert before <= 2 * engine._prompts.window.size < 200
    assert 1 < most <= engine._prompts.window.size
    wait_until(lambda: at_rest(engine))


def test_a_background_call_waits_for_the_others(engine: Engine) -> None:
    order: list[str] = []
    back = submit(engine.open_call(background=True), "back", 80, request(4), order)
    others = [submit(engine.open_call(), "usual", 40, request(4), order) for _ in range(2)]
    for future in [*back, *others[0], *others[1]]:
        future.result()
    # But for those that were in the engine before the others came, and the share of one in so many.
    late = order[len(order) // 2 :]
    assert late.count("back") > 2 * late.count("usual")


@pytest.mark.parametrize("tokens", [300, 10])
def test_background_prompts_pause_in_vllm_while_another_is_there(engine: Engine, tokens: int) -> None:
    order: list[str] = []
    generation = engine._generation
    assert generation is not None and engine.settings.beside == 0
    generation.stand_still(True)
    back = submit(engine.open_call(background=True), "back", 6, request(tokens), order)
    wait_until(lambda: engine.unfinished_in_vllm == len(back))
    (usual,) = submit(engine.open_call(), "usual", 1, request(350), order)  # longer than what was there before it
    wait_until(lambda: engine.unfinished_in_vllm == len(back) + 1)
    generation.stand_still(False)
    assert usual.result().completion_tokens == 350
    assert {future.result().completion_tokens for future in back} == {tokens}
    if tokens == 300:  # one step in sixteen has one of them in it
        assert order.index("usual") == 0
    else:
        assert order.index("usual") >= 1
    wait_until(lambda: at_rest(engine))


@pytest.mark.parametrize("stage", ["waiting", "preparing", "in vLLM"])
def test_a_cancelled_call_leaves_whatever_stage_it_is_in(engine: Engine, stage: str) -> None:
    window = engine._prompts.window
    call, other = engine.open_call(), engine.open_call()
    endless = request(1500, frames=4 if stage == "preparing" else 0)
    futures = [call.submit(endless) for _ in range(window.size + 10 if stage == "waiting" else 6)]
    if stage == "waiting":
        wait_until(lambda: len(window.admitted) == window.size and engine.waiting == 10)
    elif stage == "preparing":
        wait_until(lambda: window.preparing == window.preparing_size and engine.waiting > 0)
    else:
        wait_until(lambda: engine.unfinished_in_vllm == 6)
    call.cancel()
    assert all(future.cancelled() for future in futures)
    assert other.submit(request(4)).result().completion_tokens == 4
    wait_until(lambda: at_rest(engine))


def test_what_a_prompt_holds_is_counted_until_it_is_gone(engine: Engine) -> None:
    call = engine.open_call()
    call.submit(request(1500, frames=4))
    wait_until(lambda: engine.kv_cache_usage > 0)
    assert (engine.generating, engine.preparing) == (1, 0)
    assert 0 < engine.bytes_held < engine.bytes_limit
    call.cancel()
    wait_until(lambda: at_rest(engine))
    assert engine.bytes_held == 0


def test_a_cancelled_prompt_leaves_its_call_alone(engine: Engine) -> None:
    call = engine.open_call()
    endless, fine = call.submit(request(1500)), call.submit(request(4))
    assert endless.cancel()
    assert fine.result().completion_tokens == 4
    wait_until(lambda: at_rest(engine))
