"""
The front door: the app as an HTTP server.

``python app.py`` serves with Flask's development server, ``python app.py --production`` with gunicorn.
"""

import argparse
import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import clams.app
import jsonschema
from clams import ClamsPromptableApp
from clams.envelop import EnvelopeError, unwrap_if_envelope
from mmif import Mmif, View

from archive.settings import BackfillSettings
from captioning.call import CaptioningFailed, Outcome, TakesPrompts, Work, run
from captioning.callwarnings import CallWarnings
from captioning.fetching import VideoCache
from captioning.form import Form, with_schema
from captioning.notes import cut_notes, fit_notes
from captioning.parameters import Framing, Parameters, decoding_of
from captioning.passes import Annotated, Passes
from captioning.passes import current as current_passes
from captioning.places import Places
from captioning.plan import plan
from captioning.running import CallCancelled, Reason, RunningCall, current
from captioning.serializing import CaptionedMmif
from captioning.settings import CaptioningSettings
from captioning.writing import write
from configuration import SettingsError, refuse_unknown_variables
from engine.conversation import Message
from engine.engine import Engine
from engine.errors import EngineUnavailable
from engine.hardware import gpus, memory_held
from engine.request import Request
from engine.settings import EngineSettings
from models import choose
from sampling.video import ByteBudget
from serving.server import serve
from serving.settings import ServingSettings

clams.app.warnings = CallWarnings()  # concurrent calls get their own warnings, only theirs

# All the settings there are, and those of the server.
SETTINGS = (EngineSettings, CaptioningSettings, ServingSettings, BackfillSettings)
_OWN_SETTINGS = SETTINGS[:-1]

# What the list of calls tells of a call: how much work it is. No text that goes to the model.
_TOLD_PARAMETERS = (
    "tfLabels", "tfSamplingMode", "maxImagesPerPrompt", "longestEdge", "frameFormat", "promptMode", "maxNewTokens",
    "temperature", "parallelPrompts",
)  # fmt: skip

# What the SDK's documentation of generate() calls its parameters, and what its transformers backend does.
_GENERATION_PARAMETERS = {
    "max_new_tokens": "maxNewTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
}


class SmolVLM2Captioner(ClamsPromptableApp):
    """Captions the TimeFrames of a MMIF; see ``metadata.py``."""

    def __init__(self) -> None:
        super().__init__()
        settings = EngineSettings.read()
        self.engine = Engine(settings, choose(settings.model))
        captioning = CaptioningSettings.read()
        self.frame_budget = ByteBudget(captioning.frame_budget_mib * 1024**2)
        self.places = Places(captioning.media_root, captioning.allow_remote)
        self.videos = VideoCache(round(captioning.video_cache_gib * 1024**3), captioning.video_cache)

    def _appmetadata(self) -> Any:
        """See ``metadata.py``."""

    def annotate(self, mmif: str | bytes | dict[str, Any] | Mmif, **runtime_params: list[str]) -> str:
        """
        Annotate as the SDK does, but refuse whatever can't be read as MMIF in the one way that its doors know.

        :raises jsonschema.ValidationError, json.JSONDecodeError, EnvelopeError: if the input is no MMIF
        :raises CallCancelled: if the call belongs to a server and is not to go on, or the engine went away
        """
        if not isinstance(mmif, Mmif):
            with _refusing_what_is_no_mmif():
                mmif, runtime_params = unwrap_if_envelope(mmif, runtime_params)
                mmif = CaptionedMmif(mmif)
        try:
            return str(super().annotate(mmif, **runtime_params))
        except EngineUnavailable as error:
            running = current()
            if running is None:
                raise
            # No failure of the captioning, which a view would have to tell: the same call may succeed a minute later.
            running.cancel(Reason.ENGINE_GONE)
            raise CallCancelled(Reason.ENGINE_GONE) from error

    def annotate_passes(
        self,
        mmif: str,
        asked: Mapping[str, dict[str, list[str]]],
        *,
        window: int,
        through: Callable[[TakesPrompts], TakesPrompts],
        report_progress: Callable[[int, int], None],
    ) -> Annotated:
        """
        Annotate as :meth:`annotate` does with the parameters of one pass after the other, but read frames that several
        passes want once, and have the model read them once.

        A pass of which all TimeFrames fail leaves a view with a warning.

        :param asked: the parameters of each pass by its name, which its views are marked with
        :param window: how many sets of frames may be in flight at once
        :param through: stands between the call and the engine
        :param report_progress: is told how many of how many prompts are done
        :raises CaptioningFailed: if there were TimeFrames to caption and all failed in all passes
        :raises Exception: as :meth:`annotate` does
        """
        with _refusing_what_is_no_mmif():
            whole = CaptionedMmif(mmif)
        refined = [self._refine_params(**given) for given in asked.values()]
        passes = Passes(list(asked), lambda: self._caption(whole, refined, window, through, report_progress))
        text = mmif
        for number, given in enumerate(asked.values()):
            with passes.annotating(number):
                try:
                    text = super().annotate(whole, **given)
                except CaptioningFailed as error:
                    view = whole.new_view()
                    self.sign_view(view, given)
                    view.metadata.warnings = [f"{type(error).__name__}: {error}"]
                    text = whole.serialize(pretty=refined[number]["pretty"], sanitize=True)
        outcomes = dict(zip(asked, passes.outcomes()))
        failures = [f'Pass "{name}": {outcome.failure}' for name, outcome in outcomes.items() if outcome.failure]
        if failures and not any(outcome.captions for outcome in outcomes.values()):
            raise CaptioningFailed(" ".join(failures))
        return Annotated(text, outcomes)

    def _annotate(self, mmif: Mmif, **parameters: Any) -> Mmif:
        """
        Add a view with the captions.

        :param mmif: the input
        :param parameters: refined parameters
        :raises ValueError: if a parameter or the MMIF can't be used
        :raises CaptioningFailed: if there were TimeFrames to caption and all failed
        :raises CallCancelled: if the call is not to go on
        :raises EngineError: if the engine is not there
        """
        if (passes := current_passes()) is not None:
            outcome = passes.outcome()
        else:
            window = Parameters.of(parameters).parallel_prompts
            (outcome,) = self._caption(mmif, [parameters], window, _straight, self.report_progress)
        outcome.check()
        if outcome.captions:
            view = mmif.new_view()
            self.sign_view(view, parameters)
            write(view, outcome.captions)
        for warning in outcome.warnings:
            clams.app.warnings.warn(warning)
        return mmif

    def _caption(
        self,
        mmif: Mmif,
        refined: Sequence[Mapping[str, Any]],
        window: int,
        through: Callable[[TakesPrompts], TakesPrompts],
        report_progress: Callable[[int, int], None],
    ) -> list[Outcome]:
        running = current() or RunningCall()
        running.parameters = {name: refined[0][name] for name in _TOLD_PARAMETERS}
        asked = [Parameters.of(parameters) for parameters in refined]
        for one in asked:
            self.check_resolution(one.framing)
        running.check()
        with running.watching_the_clock(), self.videos.lease(running) as fetch:  # a plan may have to fetch videos
            plans = [plan(mmif, one, self.places, fetch, running) for one in asked]
            works = [Work(made, one, self._conversation(one)) for made, one in zip(plans, asked)]
            if any(work.plan.tasks for work in works):
                self.engine.start()
            call = through(self.engine.open_call(background=running.background))
            return run(
                works,
                call,
                self.frame_budget,
                report_progress,
                running,
                window=window,
                check_frames=self.engine.check_frames,
            )

    def sign_view(self, view: View, runtime_conf: dict[str, Any]) -> None:
        """Sign as the SDK does; of several passes, also with the name of the one that the view is of."""
        super().sign_view(view, runtime_conf)
        if (passes := current_passes()) is not None:
            view.metadata.set_additional_property("pass", passes.name)

    def generate(
        self,
        prompt: list[str],
        system_prompt: str = "",
        images: list[list[Any]] | None = None,
        audios: list[list[Any]] | None = None,
        prompt_mode: str = "turn-taking",
        **generation_params: Any,
    ) -> list[str]:
        """
        Answer N independent prompts on the engine, all in flight at once, as the SDK's promptable contract says.

        :param prompt: the turns, the same for all N
        :param images: RGB frames as PIL images, a list for each of the N prompts; without, one prompt of text
        :param generation_params: ``maxNewTokens``, ``temperature``, ``topP``, ``topK``, or the same in snake case;
            ``seed``, ``longestEdge``, ``contextOverflow``, ``repetitionPenalty``, ``repetitionGuard``,
            ``outputSchema``, ``outputChoices``
        :returns: N texts
        :raises ValueError: if a parameter can't be used, or for audio, which the model can't hear
        :raises PromptRefused: if one of the prompts can't be answered
        """
        if audios is not None:
            raise ValueError("SmolVLM2 takes images and text; audios can't be used.")
        groups = [[]] if images is None else images
        refined = {clams_name: generation_params.get(name) for name, clams_name in _GENERATION_PARAMETERS.items()}
        refined = {k: v for k, v in refined.items() if v is not None} | generation_params
        refined = {p.name: p.default for p in self.metadata.parameters} | refined
        decoding, framing, form = decoding_of(refined), Framing.of(refined), Form.of(refined)
        if framing.format == "video":
            raise ValueError("frameFormat video needs the times of the frames, which generate() is not told.")
        if refined["captionConfidence"]:
            raise ValueError("captionConfidence needs more than the texts that generate() returns.")
        self.check_resolution(framing)
        self.engine.start()
        call = self.engine.open_call()
        futures = [
            call.submit(
                Request(
                    self._turns(prompt, system_prompt, prompt_mode, len(group)),
                    group,
                    decoding.sampling_params(number),
                    longest_edge=framing.longest_edge,
                    overflow=framing.overflow,
                    grammar=form.grammar,
                    choices=form.choices,
                )
            )
            for number, group in enumerate(groups, start=1)
        ]
        completions = [future.result() for future in futures]
        for number, (group, completion) in enumerate(zip(groups, completions), start=1):
            form.mime(completion)
            name = f"Prompt {number}"
            for note in fit_notes(name, len(group), completion.fit) + cut_notes(name, form, completion):
                clams.app.warnings.warn(note, stacklevel=2)
        return [completion.text for completion in completions]

    def set_error_view(self, mmif: str | bytes | dict[str, Any] | Mmif, **runtime_conf: list[str]) -> Mmif:
        """
        Record the exception being handled in a new view. (The SDK would write it over the last view of this app, which
        an earlier run, with another prompt, may have filled.)
        """
        if not isinstance(mmif, Mmif):
            mmif, runtime_conf = unwrap_if_envelope(mmif, runtime_conf)
            mmif = CaptionedMmif(mmif)
        kind, error, trace = sys.exc_info()
        view = mmif.new_view()
        self.sign_view(view, runtime_conf)
        view.set_error(f"{kind.__name__ if kind else 'Error'}: {error}", "".join(traceback.format_tb(trace)))
        return mmif

    record_error = set_error_view

    def _refine_params(self, **runtime_params: Any) -> dict[str, Any]:
        """Refine as the SDK does, and pin the model to its revision; a value that can't be cast names its parameter."""
        for name, values in runtime_params.items():
            if name in self.annotate_param_spec:
                try:
                    self.annotate_param_caster.cast({name: values})
                except ValueError as error:
                    kind = self.annotate_param_spec[name][0]
                    raise ValueError(f'Value for parameter "{name}" must be of type {kind}; got {values}.') from error
        refined: dict[str, Any] = super()._refine_params(**with_schema(runtime_params))
        refined[self._RAW_PARAMS_KEY] = runtime_params  # as they were given
        if refined["model"] == self.engine.model.id:
            refined["model"] = self.engine.model.record
        return refined

    def check_resolution(self, framing: Framing) -> None:
        """:raises ValueError: if the model can't see frames at the size that is asked for; starts the engine"""
        if framing.longest_edge:
            self.engine.start()  # only the model's processor knows
            self.engine.context.check_edge(framing.longest_edge)

    def _conversation(self, asked: Parameters) -> Callable[[int], list[list[Message]]]:
        return lambda frames: self._turns(list(asked.prompt), asked.system_prompt, asked.prompt_mode, frames)

    def _turns(self, prompt: list[str], system_prompt: str, prompt_mode: str, frames: int) -> list[list[Message]]:
        # The frames travel beside the messages, so a placeholder for each is enough here.
        made: Any = self.build_conversation(prompt, system_prompt, [None] * frames, prompt_mode=prompt_mode)
        return made if isinstance(made[0], list) else [made]

    def _profile_cuda_memory(self, func: Callable[..., Mmif]) -> Callable[..., tuple[Mmif, dict[str, Any]]]:
        """
        Report the engine's GPUs where ``hwFetch`` asks for it. (The SDK would make a CUDA context in this process for
        every call, which costs memory and sees nothing of the engine's.)
        """

        def profiled(mmif: Mmif, **parameters: Any) -> tuple[Mmif, dict[str, Any]]:
            annotated = func(mmif, **parameters)
            if not parameters.get("hwFetch"):
                return annotated, {}
            held = memory_held(self.engine.pids)
            return annotated, {
                gpu.name: {"total": gpu.total, "available_before": gpu.free, "peak": held[gpu.uuid]}
                for gpu in gpus()
                if gpu.total and gpu.uuid in held
            }

        return profiled


@contextlib.contextmanager
def _refusing_what_is_no_mmif() -> Iterator[None]:
    """
    Fail in the ways that the SDK's doors know.

    :raises jsonschema.ValidationError, json.JSONDecodeError, EnvelopeError: if what is read is no MMIF
    """
    try:
        yield
    except (jsonschema.ValidationError, json.JSONDecodeError, EnvelopeError):
        raise
    except Exception as error:  # whatever mmif-python stumbles over in JSON of another shape
        raise EnvelopeError(f"This is not MMIF ({type(error).__name__}: {error}).") from error


def _straight(call: TakesPrompts) -> TakesPrompts:
    return call


def get_app() -> SmolVLM2Captioner:
    """Make the app. Its engine starts with the first call, or when the server is made."""
    return SmolVLM2Captioner()


def main(arguments: list[str] | None = None) -> int:
    """
    Serve the app.

    :param arguments: the command line without the program's name; ``sys.argv``'s if ``None``
    :returns: the exit code
    """
    parser = argparse.ArgumentParser(description="Serve the SmolVLM2 captioner as a CLAMS app.")
    parser.add_argument("--port", type=int, default=5000, help="set port to listen [default: 5000]")
    parser.add_argument("--production", action="store_true", help="run gunicorn server")
    for settings in _OWN_SETTINGS:
        settings.add_flags(parser)
    parsed = parser.parse_args(arguments)
    try:
        for settings in _OWN_SETTINGS:
            settings.export_flags(parsed)
        refuse_unknown_variables(SETTINGS)
        serving = ServingSettings.read()
        app = get_app()
    except SettingsError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    serve(app, serving, port=parsed.port, production=parsed.production)
    return 0


if __name__ == "__main__":
    sys.exit(main())
