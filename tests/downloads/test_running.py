"""The page's download: in the background, one at a time, stopped, failed, told."""

import time
from pathlib import Path

import pytest

from tests.downloads.hub_server import Served, StandIn
from tests.downloads.test_download import CONTENT, FILE
from wanvideo.downloads.download import target_of
from wanvideo.downloads.running import DONE, FAILED, RUNNING, STOPPED, Downloads
from wanvideo.errors import UserError


def wait(downloads: Downloads) -> None:
    end = time.monotonic() + 20
    while downloads.now.state == RUNNING:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_runs_to_its_end(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT))
    downloads = Downloads()
    downloads.start("One", [FILE], tmp_path)
    wait(downloads)
    assert downloads.now.state == DONE and downloads.now.title == "One" and downloads.now.event
    assert target_of(FILE, tmp_path).read_bytes() == CONTENT


def test_one_at_a_time_and_stopped(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, statuses=[429], headers={"Retry-After": "60"}))
    downloads = Downloads()
    downloads.start("One", [FILE], tmp_path)
    with pytest.raises(UserError, match="One is being downloaded. Stop it or wait"):
        downloads.start("Two", [FILE], tmp_path)
    downloads.stop()
    wait(downloads)
    assert downloads.now.state == STOPPED and not downloads.now.stopping
    downloads.start("Two", [FILE], tmp_path)
    wait(downloads)
    assert downloads.now.state == DONE


def test_a_failure_is_a_sentence(server: StandIn, tmp_path: Path) -> None:
    assert server.address
    downloads = Downloads()
    downloads.start("One", [FILE], tmp_path)
    wait(downloads)
    assert downloads.now.state == FAILED and downloads.now.error.startswith("the hub has no ")
    (tmp_path / "vae").write_text("a file where a folder should be")
    server.serve(FILE, Served(CONTENT))
    downloads.start("One", [FILE], tmp_path)
    wait(downloads)
    assert downloads.now.state == FAILED and downloads.now.error
