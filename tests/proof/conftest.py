"""A machine with a fake provider, and with proofs of its own."""

from pathlib import Path

import pytest

from tests.proof import fake_provider
from wanvideo.cache_folder import VARIABLE


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the fake provider is installed in; the cache is empty."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    fake_provider.install(tmp_path / "site", monkeypatch)
    return tmp_path / "site"
