"""A store, and requests that are ready to be queued."""

from pathlib import Path

import pytest

from wanvideo.jobs.store import JobStore


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs" / "queue.sqlite", lease_seconds=5)
