"""Files that are no videos but name others are not read, wherever these lie."""

from pathlib import Path

import av
import pytest

from sampling.source import CONTAINERS, Source
from sampling.video import ByteBudget, VideoError, read_groups
from tests.sampling.video_files import Recipe, make

pytestmark = pytest.mark.usefixtures("nothing_is_left")

PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n{}\n#EXT-X-ENDLIST\n"
LISTS = {
    "list.m3u8": PLAYLIST,
    "master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{}\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {}\n",
    "list.txt": "ffconcat version 1.0\nfile {}\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "list.mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>',
}


@pytest.fixture(scope="module")
def outside(folder: Path) -> Path:
    return make(Recipe("outside", "ts", frames=10), folder)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_refused(outside: Path, folder: Path, name: str) -> None:
    path = folder / name
    path.write_text(LISTS[name].format(outside.name if "concat" in LISTS[name] else outside))
    with (
        pytest.raises(VideoError, match="Cannot open the video"),
        read_groups(path, [[0]], budget=ByteBudget()) as groups,
    ):
        next(groups)


def test_a_playlist_is_told_what_to_name_instead(outside: Path, folder: Path) -> None:
    path = folder / "told.m3u8"
    path.write_text(PLAYLIST.format(outside))
    with pytest.raises(VideoError, match=r"told.m3u8: it is a playlist, .*let the document name the video itself"):
        Source(path)


def test_the_containers_are_known_to_ffmpeg() -> None:
    assert set(CONTAINERS) <= av.formats_available
