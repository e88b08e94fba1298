"""One open video: its clock, where a seek lands, and how its pictures become images."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath

import av
from PIL import Image

from sampling.bitstream import ParameterSets, closes, length_size
from sampling.pixels import Converter

# Demuxers whose seek goes by an index that is complete from the start, so that it lands on the same key frame whatever
# was read before; and decoders that raise on the same packet however many threads they have. VP8's is not among them:
# after a lost packet, what it makes of the rest, even beyond the next key frame, depends on where it began.
INDEXED = frozenset({"mov", "matroska"})
REPEATABLE = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg2video", "mpeg4", "mjpeg", "prores"})

# What a file may be. FFmpeg opens playlists and the like (hls, concat, dash, imf, sdp, image2, mlv), too, and whatever
# files or hosts these name, so that a file in a place that may be read would lead to places that may not.
CONTAINERS = (
    "mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "mxf", "asf", "flv", "live_flv", "ogg", "dv", "gxf", "lxf",
    "nut", "ivf", "rm", "wtv", "nsv", "nuv", "ty", "pva", "swf", "roq", "smk", "bink", "flic", "film_cpk", "dhav",
    "h261", "h263", "h264", "hevc", "vvc", "av1", "obu", "m4v", "vc1", "vc1test", "mjpeg", "dirac", "dnxhd",
    "cavsvideo", "yuv4mpegpipe", "gif", "apng", "wav",  # one of sound is told that it has no video
)  # fmt: skip


class VideoError(Exception):
    """
    A video cannot be opened.

    :param path: the file
    :param reason: what went wrong, in the words of whoever noticed
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"Cannot open the video {path}: {reason}. "
            "Check that the file exists, may be read and is whole (`ffprobe FILE` names its streams)."
        )
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Landing:
    """
    The packet a seek comes down on.

    :param key: whether it is a key frame with a presentation timestamp
    :param closed: whether nothing after it, in decoding order, looks back past it
    """

    pts: int | None
    dts: int | None
    pos: int | None
    key: bool
    closed: bool


class Source:
    """
    An open video.

    :param path: the file
    :param threads: decoding threads for H.264; ``None`` leaves PyAV's own setting, as do other codecs, whose decoders
        may raise other errors with other threads
    :raises VideoError: if the file cannot be opened, holds no video, or is a list of other files
    """

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        self.path = fspath(path)
        try:
            self.container = av.open(self.path, container_options={"format_whitelist": ",".join(CONTAINERS)})
        except av.error.ArgumentError as error:  # before FFmpeg has looked at more of the file than what it is
            raise VideoError(
                self.path,
                "it is a playlist, or in no container that is read here; let the document name the video itself",
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(self.path, f"{type(error).__name__}: {error}") from error
        try:
            self.stream = self.container.streams.video[0]
        except IndexError:
            self.container.close()
            raise VideoError(self.path, "it holds no video stream") from None
        self.codec = self.stream.codec_context
        self._delay = 0
        if threads is not None and self.codec.name == "h264":  # which says of each picture whether it is damaged
            self._delay = threads - 1
            self.codec.thread_type = "FRAME" if threads > 1 else "SLICE"
            self.codec.thread_count = threads
        self.time_base = float(self.stream.time_base)
        rate = self.stream.guessed_rate or self.stream.average_rate or self.stream.base_rate
        self._tolerance = round(1 / float(rate) / self.time_base) if rate else 0
        self.nal_length_size = length_size(self.codec.name, self.codec.extradata)
        framed = self.codec.name == "h264" and self.nal_length_size > 0
        self.parameter_sets = ParameterSets.of(self.codec.extradata) if framed else ParameterSets(set(), 0)
        self.skips = self.parameter_sets.number_bits > 0
        self._reorder: int | None = None
        self._converter = Converter()

    @property
    def repeatable(self) -> bool:
        """Whether a picture is the same whichever key frame before it the decoding starts from."""
        formats = self.container.format.name.split(",")
        if self.codec.name not in REPEATABLE or not INDEXED.intersection(formats):
            return False
        return "mov" not in formats or self._index_reaches_the_end()

    def ticks(self, ms: int) -> int:
        """Milliseconds in units of the stream's time base."""
        return round(ms / 1000.0 / self.time_base)

    def milliseconds(self, ticks: int) -> float:
        """Units of the stream's time base in milliseconds."""
        return ticks * self.time_base * 1000

    def tolerance(self, frame: av.VideoFrame) -> int:
        """How far past a picture, in ticks, an instant may lie and still belong to it."""
        return frame.duration or self._tolerance

    def seek(self, ticks: int) -> None:
        """Go to the key frame at or before a time, as far as the container knows."""
        self.container.seek(ticks, backward=True, any_frame=False, stream=self.stream)

    def packets(self) -> Iterator[av.Packet]:
        """The video packets from here to the end, without the empty one that PyAV appends."""
        for packet in self.container.demux(self.stream):
            if packet.size or packet.dts is not None:
                yield packet

    def land(self, ticks: int) -> Landing | None:
        """Where a seek to a time comes down; ``None`` if it fails or nothing follows."""
        try:
            self.seek(ticks)
            packet = next(self.packets(), None)
        except av.error.FFmpegError:
            return None
        return None if packet is None else self.landing(packet)

    def landing(self, packet: av.Packet) -> Landing:
        """A packet as a place to start from."""
        key = packet.is_keyframe and packet.pts is not None and not packet.is_corrupt
        closed = key and closes(self.codec.name, packet, self.nal_length_size)
        return Landing(packet.pts, packet.dts, packet.pos, key, closed)

    def first_shown_after(self, sent: int) -> None:
        """Note how many packets the decoder took before it gave out the first picture."""
        if self._reorder is None:
            self._reorder = sent - 1 - self._delay

    def keeps_order(self, depth: int, sent: int) -> bool:
        """
        Whether a new decoder of this stream would give out every picture.

        An H.264 stream need not say how many pictures have to be held back to put them in order. FFmpeg then guesses
        when it opens the file, and where it guessed too low it loses pictures after each seek until it has learnt.

        :param depth: the most places by which a picture is decoded before its turn
        :param sent: packets that the decoder has taken so far
        """
        held_back = sent - self._delay if self._reorder is None else self._reorder
        return self.codec.name != "h264" or depth <= held_back

    def image(self, frame: av.VideoFrame) -> Image.Image:
        """The RGB image of a picture, as `VideoFrame.to_image` makes it."""
        return self._converter.image(frame)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def _index_reaches_the_end(self) -> bool:
        entries, frames = self.stream.index_entries, self.stream.frames
        return bool(frames) and len(entries) >= frames
