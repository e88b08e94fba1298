"""Callers against a server of the test's own: who waits for whom."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web

from bench.load import Answered, Load, send


class Server:
    """Answers when told to, and counts who is there at once."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at_once = self.most = 0
        self.enough = 0  # callers that have to be there before anyone is answered
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append((await request.read()).decode())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        while self.most < self.enough:
            await asyncio.sleep(0.001)
        self.at_once -= 1
        return web.Response(text="TextDocument" if self.status == 200 else "busy", status=self.status)


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    made, loop = Server(), asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/", made.answer)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield made, f"http://127.0.0.1:{port}/"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def sent(load: Load) -> Answered:
    return asyncio.run(send(load))


def test_closed_callers_wait_for_their_answers(server: tuple[Server, str]) -> None:
    made, url = server
    made.enough = 3
    answered = sent(Load(url, ["a", "b"], calls=10, callers=3))
    assert made.most == 3
    assert sorted(made.calls) == ["a"] * 5 + ["b"] * 5
    assert len(answered.latencies) == 10
    assert answered.errors == []


def test_open_arrivals_wait_for_nobody(server: tuple[Server, str]) -> None:
    made, url = server
    made.enough = 10  # nobody is answered before all are there
    answered = sent(Load(url, ["a"], calls=10, rate=1000))
    assert made.most == 10
    assert len(answered.latencies) == 10
    # Whoever came first has waited longest: latency counts from when a call was due.
    assert answered.latencies[0] >= max(answered.latencies[-2:])


def test_refusals_are_errors_and_no_latencies(server: tuple[Server, str]) -> None:
    made, url = server
    made.status = 503
    answered = sent(Load(url, ["a"], calls=4, callers=2))
    assert answered.latencies == []
    assert answered.errors == ["503: busy"] * 4
