"""This app through HTTP: a server as an operator runs it, called from another process."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.contenders import Spent
from bench.workloads import Workload

CALL_SECONDS = 3600


class Http:
    """
    The app's server, called as its callers do: with a MMIF, from which it reads the video's frames itself.

    :param url: of the server
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """
        Caption all prompts, ``at_once`` of them in flight over all calls.

        Captions of different lengths are asked for by different callers, who share what may be in flight.
        """
        mmif = workload.mmif().encode()
        shares = windows([prompt.tokens for prompt in workload.prompts], at_once)
        calls: list[dict[str, Any]] = [
            {
                "tfLabels": length,
                "maxNewTokens": length,
                "parallelPrompts": share,
                "longestEdge": workload.longest_edge,
                "prompt": workload.text,
            }
            for length, share in shares.items()
        ]
        before = _tokens(self._url)
        with ThreadPoolExecutor(min(len(calls), at_once)) as callers:
            began = time.perf_counter()
            answers = list(callers.map(lambda parameters: call(self._url, mmif, **parameters), calls))
            seconds = time.perf_counter() - began
        read, written = (now - then for now, then in zip(_tokens(self._url), before))
        texts = [text for answer in answers for text in captions(answer)]
        if len(texts) != len(workload.prompts):
            raise RuntimeError(f"{len(texts)} captions of {len(workload.prompts)}: {_warnings(answers)}")
        images = sum(len(prompt.instants) for prompt in workload.prompts)
        return Spent(seconds, len(texts), images, read, written)

    def close(self) -> None:
        """Do nothing: the server is somebody else's."""


def windows(lengths: Sequence[int], at_once: int) -> dict[int, int]:
    """
    Divide what may be in flight among calls, each of which asks for the captions of one length.

    Each gets at least one, and of the rest the more, the more it has to write, so that they end at about the same time.

    :param lengths: of all captions, in tokens
    :param at_once: prompts in flight over all calls; where that is less than there are calls, they wait for each other
    :returns: the prompts in flight of each call by the length of its captions, the longest first
    """
    work = {length: length * lengths.count(length) for length in sorted(set(lengths), reverse=True)}
    shares = dict.fromkeys(work, 1)
    for _ in range(at_once - len(work)):
        busiest = max(work, key=lambda length: work[length] / shares[length])
        shares[busiest] += 1
    return shares


def call(url: str, mmif: bytes, **parameters: Any) -> dict[str, Any]:
    """
    Have a server caption a MMIF.

    :returns: the MMIF with captions
    :raises urllib.error.HTTPError: if it refuses
    """
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}?{query}", data=mmif, timeout=CALL_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def captions(mmif: dict[str, Any]) -> list[str]:
    """Return the texts of a MMIF's TextDocuments, in their order."""
    annotations = [annotation for view in mmif["views"] for annotation in view.get("annotations", [])]
    return [
        annotation["properties"]["text"]["@value"]
        for annotation in annotations
        if "TextDocument" in annotation["@type"]
    ]


def _tokens(url: str) -> tuple[int, int]:
    """Return how many tokens of prompts the server's engine has read so far, and how many it has written."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    read, written = (
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))
        for name in ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    )
    return round(read), round(written)


def _warnings(answers: list[dict[str, Any]]) -> list[str]:
    views = [view for answer in answers for view in answer["views"]]
    return [str(warning) for view in views for warning in view["metadata"].get("warnings", [])]
