"""The names by which an operator may choose a model, and what each stands for."""

from pathlib import Path

from configuration import SettingsError
from engine.checkpoint import MODEL_ID
from engine.model import PINNED, Model, model_in

DEMO = Path(__file__).parent / "demo" / "model"


def choose(name: str) -> Model:
    """
    Resolve the ``model`` setting.

    :param name: the pinned checkpoint's id on the hub, ``demo``, or a folder
    :raises SettingsError: if it is none of them
    """
    if name == MODEL_ID:
        return PINNED
    if name == "demo":
        model = model_in(DEMO)
        return Model("demo", model.revision, model.folder)
    if "/" not in name and not Path(name).is_dir():
        raise SettingsError(f"CAPTIONER_MODEL (--model-path): {name!r} is not {MODEL_ID}, demo or a folder.")
    try:
        return model_in(Path(name))
    except SettingsError as error:
        raise SettingsError(f"CAPTIONER_MODEL (--model-path): {error}") from error
