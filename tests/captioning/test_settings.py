"""What an operator may say of where videos are."""

from pathlib import Path

import pytest

from captioning.settings import CaptioningSettings
from configuration import SettingsError


def test_folders_are_resolved_and_hosts_are_in_lower_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tapes", "reels"):
        (tmp_path / name).mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "reels")
    monkeypatch.setenv("CAPTIONER_MEDIA_ROOT", f"{tmp_path}/tapes:{tmp_path}/way")
    monkeypatch.setenv("CAPTIONER_ALLOW_REMOTE", "HTTPS://Media.example.org,http://10.0.0.1:8080")
    settings = CaptioningSettings.read()
    assert settings.media_root == (tmp_path / "tapes", tmp_path / "reels")
    assert settings.allow_remote == ("https://media.example.org", "http://10.0.0.1:8080")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CAPTIONER_MEDIA_ROOT", "/nowhere", "each has to be a folder that is there, and /nowhere is not"),
        ("CAPTIONER_ALLOW_REMOTE", "media.example.org", "each has to be a scheme and a host"),
        ("CAPTIONER_ALLOW_REMOTE", "https://media.example.org/tapes", "each has to be a scheme and a host"),
    ],
)
def test_what_is_no_place_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable} .*{complaint}"):
        CaptioningSettings.read()
