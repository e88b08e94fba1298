"""What an operator may set of how calls are worked through."""

from pydantic import Field

from configuration import Settings


class CaptioningSettings(Settings):
    """Settings that all calls of a process share."""

    frame_budget_mib: int = Field(
        512, ge=1, description="Memory of decoded frames that wait for the engine, in MiB; readers wait when it is full"
    )
