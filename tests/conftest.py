"""What the program keeps between runs is kept for one session of tests: none lives on what an earlier one
left, and the user's own cache folder stays as it is.
"""

import os
from collections.abc import Iterator

import pytest

from wanvideo.cache_folder import VARIABLE


@pytest.fixture(scope="session", autouse=True)
def _session_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        if VARIABLE not in os.environ:
            environment.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield
