"""This app through HTTP: a server as an operator runs it, called from another process."""

import json
import time
import urllib.parse
import urllib.request
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
        Caption all prompts, ``at_once`` of each call; captions of different lengths are asked for by different callers.
        """
        mmif = workload.mmif().encode()
        calls: list[dict[str, Any]] = [
            {
                "tfLabels": length,
                "maxNewTokens": length,
                "parallelPrompts": at_once,
                "longestEdge": workload.longest_edge,
                "prompt": workload.text,
            }
            for length in workload.lengths()
        ]
        with ThreadPoolExecutor(len(calls)) as callers:
            began = time.perf_counter()
            answers = list(callers.map(lambda parameters: call(self._url, mmif, **parameters), calls))
            seconds = time.perf_counter() - began
        texts = [text for answer in answers for text in captions(answer)]
        if len(texts) != len(workload.prompts):
            raise RuntimeError(f"{len(texts)} captions of {len(workload.prompts)}: {_warnings(answers)}")
        images = sum(len(prompt.instants) for prompt in workload.prompts)
        return Spent(seconds, len(texts), images, 0, 0)

    def close(self) -> None:
        """Do nothing: the server is somebody else's."""


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


def _warnings(answers: list[dict[str, Any]]) -> list[str]:
    views = [view for answer in answers for view in answer["views"]]
    return [str(warning) for view in views for warning in view["metadata"].get("warnings", [])]
