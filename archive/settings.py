"""What an operator may set of a backfill for good; what differs from one to the next are options of its command."""

from pydantic import Field, SecretStr

from configuration import Settings


class BackfillSettings(Settings):
    """Settings of ``backfill.py``."""

    parallel: int = Field(
        0, ge=0, description="Prompts in flight over all files of a backfill; 0 takes max-seqs, or 16 for each server"
    )
    server_token: SecretStr | None = Field(None, description="Token that a backfill's servers ask for")
    server_tries: int = Field(5, ge=1, description="How often a backfill sends a file before it is given up")
    server_answer_minutes: float = Field(
        60, gt=0, description="Minutes that a server may take for one pass over a file"
    )
    server_silence_minutes: float = Field(
        30, gt=0, description="Minutes without a usable answer of any server after which a backfill stops"
    )
    server_backoff_seconds: float = Field(
        1, gt=0, description="Seconds that a server is left alone after a fault, doubled for each further one up to 60"
    )
    ray_engines_min: int = Field(1, ge=1, description="Engines that a backfill has at any time on a Ray cluster")
    ray_engines_max: int = Field(
        0, ge=0, description="Engines that it has there at most; 0 takes as many as there is room for"
    )
    ray_cpus: int = Field(4, ge=1, description="CPUs of each of these engines, on a cluster without GPUs")
