"""What an operator may set of the server."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from configuration import Settings


class ServingSettings(Settings):
    """Settings of the HTTP server."""

    host: str = Field("0.0.0.0", description="Address to listen on; 127.0.0.1 takes calls from this machine alone")
    max_calls: int = Field(64, ge=1, description="Calls in flight; further ones are answered 503")
    max_prompts_waiting: int = Field(
        2048,
        ge=1,
        description="Prompts of all calls that wait for the engine; while there are so many, no call gets in",
    )
    max_held_mib: int = Field(
        8192,
        ge=1,
        description="Memory of frames, prepared prompts and request bodies, in MiB; a call that would exceed it is "
        "answered 503",
    )
    max_body_mib: int = Field(64, ge=1, description="Size of a request's body in MiB; a larger one is answered 413")
    call_seconds: float = Field(
        0,
        ge=0,
        description="Time limit of a call in seconds, at which what is done is returned; 0 sets none. A caller may set "
        "a smaller one by the header X-Timeout-Seconds",
    )
    client_seconds: int = Field(
        60, ge=1, description="Seconds that a client may keep silent within a request, or not take its answer"
    )
    grace_seconds: int = Field(60, ge=0, description="Seconds that calls in flight get to finish after SIGTERM")
    token: SecretStr | None = Field(
        None,
        description="Bearer token that POST, PUT and DELETE have to show; a flag can be seen in the list of processes",
    )
    token_file: Path | None = Field(None, description="File that holds the token, instead")
    token_for_reading: bool = Field(False, description="Ask for the token on GET, too; health stays open")
    log_format: Literal["text", "json"] = Field("text", description="Form of the server's log lines on standard error")

    @model_validator(mode="after")
    def _token_is_there(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("Set CAPTIONER_TOKEN or CAPTIONER_TOKEN_FILE, not both")
        if not self.secret and self.token_for_reading:
            raise ValueError("CAPTIONER_TOKEN_FOR_READING needs CAPTIONER_TOKEN or CAPTIONER_TOKEN_FILE")
        return self

    @property
    def secret(self) -> str:
        """The token; empty if none is asked for."""
        if self.token_file is None:
            return self.token.get_secret_value() if self.token else ""
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"CAPTIONER_TOKEN_FILE can't be read: {error}") from error
        if not token:
            raise ValueError(f"CAPTIONER_TOKEN_FILE is empty: {self.token_file}")
        return token
