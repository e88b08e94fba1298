"""Which model runs: where its files are, and by which name and revision it is recorded."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from configuration import SettingsError
from engine.checkpoint import MODEL_ID, REVISION

ARCHITECTURE = "SmolVLMForConditionalGeneration"

# What a folder must hold before an engine is built on it; the weights may be split over several files.
_NEEDED = ("config.json", "tokenizer.json", "preprocessor_config.json", "*.safetensors")


@dataclass(frozen=True)
class Model:
    """
    The model that runs.

    :param id: name under which it is recorded
    :param revision: Git revision on the hub, or a hash of a folder's content
    :param folder: the folder that holds it, ``None`` for the pinned checkpoint of the hub
    """

    id: str
    revision: str
    folder: Path | None

    @property
    def record(self) -> str:
        """Name and revision as views carry them: ``id@revision``."""
        return f"{self.id}@{self.revision}"


PINNED = Model(MODEL_ID, REVISION, None)


def model_in(folder: Path) -> Model:
    """
    Identify the model in a folder by the folder's name and a hash of what it holds.

    :raises SettingsError: if there is no SmolVLM in the folder
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}; name one that holds a SmolVLM checkpoint.")
    missing = [pattern for pattern in _NEEDED if not any(folder.glob(pattern))]
    if missing:
        raise SettingsError(f"{folder} is not a complete checkpoint: it lacks {', '.join(missing)}.")
    architectures = json.loads((folder / "config.json").read_text()).get("architectures") or []
    if ARCHITECTURE not in architectures:
        raise SettingsError(f"{folder} holds {architectures or 'no architecture'}; this app runs {ARCHITECTURE}.")
    return Model(folder.name, _content_hash(folder), folder)


@functools.lru_cache
def _content_hash(folder: Path) -> str:
    """Hash names and bytes of the files in ``folder``, not its subfolders; 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def fetch(model: Model) -> Path:
    """
    Return the folder with the model's files, downloading the pinned checkpoint if it is not in the cache.

    :raises FileNotFoundError: if it is neither cached nor to be had
    """
    if model.folder is not None:
        return model.folder
    import huggingface_hub  # not at the top: it reads HF_HOME and HF_HUB_OFFLINE when imported

    try:
        wanted = ["*.json", "*.jinja", "*.txt", "*.safetensors"]
        return Path(huggingface_hub.snapshot_download(model.id, revision=model.revision, allow_patterns=wanted))
    except Exception as error:  # the hub's client lets errors of several HTTP libraries through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(
            f"The weights of {model.record} are not in the cache ({huggingface_hub.constants.HF_HUB_CACHE}) and could "
            f"not be downloaded ({reason})"
        ) from error
