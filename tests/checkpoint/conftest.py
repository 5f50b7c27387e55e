"""What is kept between runs stays out of the user's cache folder."""

from pathlib import Path

import pytest

from wanvideo.cache_folder import VARIABLE


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(VARIABLE, str(folder))
