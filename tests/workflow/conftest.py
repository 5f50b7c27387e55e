"""Model folders for the tests of workflows: tiny models, and LoRAs of which only the names matter."""

from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_models(tmp_path_factory.mktemp("models"))
    for name in ("warm", "sub/cold"):
        path = folder / "loras" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder
