"""What an operator may set of how calls are worked through."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from configuration import Settings, split_at

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://[^/@?#]+")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"each has to be a folder that is there, and {path} is not")
    return path.resolve()


def _remote(text: str) -> str:
    if not _REMOTE.fullmatch(text.lower()):
        raise ValueError(f"each has to be a scheme and a host, as https://media.example.org, and {text} is not")
    return text.lower()


class CaptioningSettings(Settings):
    """Settings that all calls of a process share."""

    frame_budget_mib: int = Field(
        512, ge=1, description="Memory of decoded frames that wait for the engine, in MiB; readers wait when it is full"
    )
    media_root: Annotated[tuple[Annotated[Path, AfterValidator(_folder)], ...], NoDecode, split_at(os.pathsep)] = Field(
        (),
        description="Folder outside of which no video is read; the flag may be repeated, the variable holds several "
        "with a colon between them. Unset: videos are read wherever they are",
        json_schema_extra={"separator": os.pathsep},
    )
    allow_remote: Annotated[tuple[Annotated[str, AfterValidator(_remote)], ...], NoDecode, split_at(",")] = Field(
        (),
        description="Scheme and host that videos may come from all the same, as https://media.example.org; the flag "
        "may be repeated, the variable holds several with commas between them",
        json_schema_extra={"separator": ","},
    )
    video_cache_gib: float = Field(
        16, gt=0, description="Disk for videos that are fetched from URLs, in GiB; a call waits when others fill it"
    )
    video_cache: Path | None = Field(
        None, description="Folder for them, on a disk of this machine; unset takes that of temporary files"
    )
