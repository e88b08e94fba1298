"""
Callers of a server, in a process of their own.

Closed: so many callers, each with its next call as soon as it has the answer. Open: calls come at random moments at a
fixed rate (a Poisson process), whatever has become of those before; a call's latency counts from the moment it was due,
not from the moment a busy caller got round to it. Neither of the usual load tools, locust and wrk, sends the second
kind, and it is the one that shows what waiting callers suffer.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field

import aiohttp

CALL_SECONDS = 3600


@dataclass
class Load:
    """
    What callers do.

    :param bodies: MMIFs, used in turn
    :param callers: of the closed kind; 0 for open
    :param rate: calls per second of the open kind
    :param calls: how many in all
    """

    url: str
    bodies: list[str]
    calls: int
    callers: int = 0
    rate: float = 0
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass
class Answered:
    """
    What became of the calls.

    :param latencies: seconds, of those that were answered, in the order in which they began
    :param seconds: from the first call to the last answer
    :param errors: what the others got
    """

    latencies: list[float]
    seconds: float
    errors: list[str]


async def send(load: Load) -> Answered:
    """Make the calls."""
    latencies: dict[int, float] = {}
    errors: list[str] = []
    timeout, connector = aiohttp.ClientTimeout(CALL_SECONDS), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def one(number: int, due: float) -> None:
            body = load.bodies[number % len(load.bodies)]
            try:
                async with session.post(load.url, params=load.parameters, data=body.encode()) as answer:
                    text = await answer.text()
                    if answer.status != 200 or "TextDocument" not in text:
                        errors.append(f"{answer.status}: {text[:200]}")
                        return
            except aiohttp.ClientError as error:
                errors.append(f"{type(error).__name__}: {error}")
                return
            latencies[number] = time.perf_counter() - due

        began = time.perf_counter()
        if load.callers:
            numbers = iter(range(load.calls))

            async def caller() -> None:
                for number in numbers:
                    await one(number, time.perf_counter())

            await asyncio.gather(*(caller() for _ in range(load.callers)))
        else:
            rng, due, waiting = random.Random(0), began, []
            for number in range(load.calls):
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                waiting.append(asyncio.create_task(one(number, due)))
                due += rng.expovariate(load.rate)
            await asyncio.gather(*waiting)
        seconds = time.perf_counter() - began
    return Answered([latencies[number] for number in sorted(latencies)], seconds, errors)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(send(Load(**json.load(sys.stdin)))))))
