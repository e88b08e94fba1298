"""What an operator may set of the server."""

from pydantic import Field

from configuration import Settings


class ServingSettings(Settings):
    """Settings of the HTTP server."""

    host: str = Field("0.0.0.0", description="Address to listen on; 127.0.0.1 takes calls from this machine alone")
    threads: int = Field(64, ge=1, description="Calls served at once; each waits on a thread of its own")
    grace_seconds: int = Field(60, ge=0, description="Seconds that calls in flight get to finish after SIGTERM")
