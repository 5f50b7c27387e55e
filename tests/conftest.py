"""What the program keeps between runs is kept for one session of tests: none lives on what an earlier one
left, and the user's own cache folder stays as it is. And what tests of compiled code share.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from wanvideo.cache_folder import VARIABLE
from wanvideo.hardware import probe_hardware

if TYPE_CHECKING:
    from tests.counting_backend import CountingBackend


INTERPRETED = "TRITON_INTERPRET"


def pytest_configure() -> None:
    """Without a card Triton's kernels are interpreted; Triton looks when it is imported."""
    if not probe_hardware().gpus:
        os.environ.setdefault(INTERPRETED, "1")


@pytest.fixture(scope="session", autouse=True)
def _session_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        if VARIABLE not in os.environ:
            environment.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing is compiled yet, and nothing stays; no gradients."""
    import torch._dynamo

    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


@pytest.fixture
def counting(fresh_compiler: None) -> "CountingBackend":  # noqa: ARG001 - comes before
    """A compiler that keeps its graphs and runs them as they are."""
    from tests.counting_backend import CountingBackend

    return CountingBackend()
