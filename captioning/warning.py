"""What a caller should know about a call, in words and by cause."""

from collections.abc import Sequence
from enum import StrEnum


class Cause(StrEnum):
    """Why there is a warning, for counting; the words of the warning are for people and may change."""

    NOTHING_SELECTED = "nothing_selected"
    UNUSABLE_TIME_FRAME = "unusable_time_frame"
    NO_REPRESENTATIVES = "no_representatives"
    FORBIDDEN_PLACE = "forbidden_place"
    UNREADABLE_VIDEO = "unreadable_video"
    UNREADABLE_FRAMES = "unreadable_frames"
    REFUSED = "refused"
    SHRUNK = "shrunk"
    REDUCED = "reduced"
    CUT = "cut"
    DEADLINE = "deadline"


class CaptionWarning(UserWarning):
    """
    Something about a TimeFrame that the caller should know.

    :param text: what it is, where, and how to mend it
    :param cause: what kind of thing it is
    :param time_frames: ids of those that it is about
    """

    def __init__(self, text: str, cause: Cause, time_frames: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.cause = cause
        self.time_frames = tuple(time_frames)
