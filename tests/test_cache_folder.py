"""The cache goes where each system has it, or where the user says."""

from pathlib import Path

import pytest

from wanvideo.cache_folder import VARIABLE, cache_folder

HOME = Path("home")
PLACES = [
    ("Linux", {}, HOME / ".cache/wanvideo/x"),
    ("Linux", {"XDG_CACHE_HOME": "disk"}, Path("disk/wanvideo/x")),
    ("Windows", {}, HOME / "AppData/Local/wanvideo/x"),
    ("Windows", {"LOCALAPPDATA": "local"}, Path("local/wanvideo/x")),
    ("Darwin", {"XDG_CACHE_HOME": "disk"}, HOME / "Library/Caches/wanvideo/x"),
    ("Linux", {VARIABLE: "mine", "XDG_CACHE_HOME": "disk"}, Path("mine/x")),
]


@pytest.mark.parametrize(("system", "environment", "expected"), PLACES)
def test_place_follows_the_system_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], expected: Path
) -> None:
    for name in (VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(Path, "home", lambda: HOME)
    assert cache_folder("x") == expected
