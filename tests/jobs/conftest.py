"""A store, and requests that are ready to be queued."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny_models import write_tiny_models
from wanvideo.jobs.store import JobStore
from wanvideo.request import GenerationRequest, RuntimeOptions


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs" / "queue.sqlite", lease_seconds=5)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def options(models: Path, tmp_path: Path) -> RuntimeOptions:
    return RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path / "out"))


@pytest.fixture
def talk(tmp_path: Path) -> GenerationRequest:
    """Four windows of a picture that listens."""
    picture = tmp_path / "face.png"
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(picture)
    return GenerationRequest(task="talk", model="tiny_i2v", image=str(picture), num_frames=21, seed=1)
