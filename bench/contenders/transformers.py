"""
transformers as the incumbent uses it: the SDK's ``ClamsHFPromptableApp``, so many prompts in a forward pass.

The app is the SDK's own class with the settings that its documentation shows for a captioner (bfloat16, padding on the
left); templates, batches and generation are the SDK's and transformers', untouched.
"""

import os
import sys
import time
from typing import Any

from bench.contenders import Spent
from bench.workloads import Workload


class Transformers:
    """
    The SDK's app over a checkpoint.

    :param folder: the checkpoint
    :param dtype: of weights and frames
    """

    def __init__(self, folder: str, dtype: str = "bfloat16") -> None:
        os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        sys.modules["__main__"].__file__ = __file__  # beside which the SDK looks for the app's version
        self._app = _app(folder, dtype)
        self._own_edge = self._app.processor.image_processor.size["longest_edge"]

    def caption(self, workload: Workload, at_once: int) -> Spent:
        """Caption all prompts, ``at_once`` in each forward pass, as the incumbent's ``parallelPrompts`` says."""
        images = workload.images()
        lengths = [prompt.tokens for prompt in workload.prompts]
        self._app.processor.image_processor.size = {"longest_edge": workload.longest_edge or self._own_edge}
        self._app.begin(lengths if workload.exact else None)
        began = time.perf_counter()
        texts = self._app.generate_batched(
            [workload.text], images=images, parallel_prompts=at_once, max_new_tokens=max(lengths)
        )
        seconds = time.perf_counter() - began
        if self._app.rows != len(texts):  # the SDK answers a failed batch with empty texts
            raise RuntimeError("transformers could not answer a batch; its log says why")
        count = sum(map(len, images))
        read, written = self._app.read, self._app.written
        return Spent(seconds, len(texts), count, read, written, tuple(text.strip() for text in texts))

    def close(self) -> None:
        """Do nothing: it all ends with the process."""


def _ends_after(lengths: list[int]) -> Any:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Ends(StoppingCriteria):
        """Ends each row of a batch after its own number of tokens, as its end-of-text token would."""

        def __init__(self) -> None:
            self._lengths = torch.tensor(lengths)
            self._written = 0

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            self._written += 1
            return self._lengths.to(input_ids.device) <= self._written  # transformers' own stays on the GPU

    return StoppingCriteriaList([Ends()])


def _metadata(folder: str) -> Any:
    from clams import AppMetadata

    return AppMetadata(
        name="baseline",
        identifier="baseline",
        url="https://example.org",
        description="transformers as the SDK uses it",
        app_license="Apache 2.0",
        analyzer_versions={folder: "main"},
    )


def _app(folder: str, dtype: str) -> Any:
    import torch
    from clams.app import ClamsHFPromptableApp
    from transformers import AutoModelForImageTextToText

    class App(ClamsHFPromptableApp):
        MODEL_CLS = AutoModelForImageTextToText
        DTYPE = getattr(torch, dtype)
        PADDING_SIDE = "left"

        def begin(self, lengths: list[int] | None) -> None:
            """Count anew; ``lengths`` are those of the captions in tokens, ``None`` where the model ends them."""
            self.lengths = lengths
            self.rows = self.read = self.written = 0

        def build_gen_kwargs(self, **parameters: Any) -> dict[str, Any]:
            kwargs = dict(ClamsHFPromptableApp.build_gen_kwargs(**parameters))
            if self.lengths is not None:
                batch = self.lengths[self.rows : self.rows + self.batch]
                kwargs["stopping_criteria"] = _ends_after(batch)
                kwargs["eos_token_id"] = None
            return kwargs

        def generate(self, prompt: Any, **arguments: Any) -> Any:
            self.batch = len(arguments["images"])
            return super().generate(prompt, **arguments)

        def count(self, inputs: Any, answers: Any) -> None:
            """Count the tokens of a batch."""
            self.read += int(inputs["attention_mask"].sum())
            if self.lengths is not None:
                lengths = self.lengths[self.rows : self.rows + self.batch]
                self.written += sum(min(length, answers.shape[1]) for length in lengths)
            else:
                ended = answers == self.processor.tokenizer.eos_token_id
                self.written += int((ended.cumsum(1) - ended.long() == 0).sum())
            self.rows += self.batch

        def _load_appmetadata(self) -> Any:
            made = _metadata(folder)
            ClamsHFPromptableApp.inject_promptable_parameters(made)
            return made

        def _appmetadata(self) -> Any:
            """See `_load_appmetadata`."""

        def _annotate(self, mmif: Any, **_: Any) -> Any:
            """Not needed: prompts are generated directly."""

    app = App()
    own_generate = app.model.generate

    def counted(**inputs: Any) -> Any:
        answers = own_generate(**inputs)
        app.count(inputs, answers[:, inputs["input_ids"].shape[1] :])
        return answers

    app.model.generate = counted
    return app
