"""A stand-in hub, no waiting between tries, and settings of its own for every test here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.downloads.hub_server import StandIn, stand_in_hub
from wanvideo.downloads import added_folders, hub


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "own" / "cache"))
    monkeypatch.setenv(added_folders.VARIABLE, str(tmp_path / "own" / "config"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(hub, "FIRST_WAIT", 0.01)
    with stand_in_hub() as running:
        monkeypatch.setenv(hub.ENDPOINT, running.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running
