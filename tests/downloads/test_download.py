"""Downloads from a stand-in hub that drops, limits, refuses and lies: what arrives, and what is said."""

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.downloads.hub_server import Served, StandIn
from wanvideo.downloads import hub
from wanvideo.downloads.catalog import KnownFile
from wanvideo.downloads.digest import recorded_hash
from wanvideo.downloads.download import download, target_of
from wanvideo.downloads.progress import DownloadEvent
from wanvideo.errors import Cancelled, UserError

CONTENT = os.urandom(300_000)
FILE = KnownFile(
    name="one",
    repository="someone/models",
    path="folder/one file.safetensors",
    component="vae",
    bytes=len(CONTENT),
    licence="none",
    folder="vae",
)
OTHER = replace(FILE, name="two", path="two.safetensors", folder="loras")


def quiet(_: DownloadEvent) -> None:
    pass


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def test_a_file_arrives_whole_under_its_name(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT))
    server.serve(OTHER, Served(CONTENT[:5000], small=True))
    events: list[DownloadEvent] = []
    done = download([FILE, OTHER], tmp_path, events.append)
    assert done.brought == (tmp_path / "vae" / "one file.safetensors", tmp_path / "loras" / "two.safetensors")
    assert done.brought[0].read_bytes() == CONTENT and done.brought[1].read_bytes() == CONTENT[:5000]
    assert recorded_hash(done.brought[0]) and not parts(tmp_path)
    assert events[-1].total == len(CONTENT) + 5000 and events[-1].done <= events[-1].total
    assert {event.file for event in events} >= {"one file.safetensors", "two.safetensors"}


def test_what_is_there_is_kept_and_not_asked_for_again(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT))
    download([FILE], tmp_path, quiet)
    before = len(server.ranges)
    assert download([FILE], tmp_path, quiet).kept == (target_of(FILE, tmp_path),)
    assert len(server.ranges) == before


def test_a_dropped_connection_goes_on_in_the_middle(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[100_000, 0, 50_000]))
    (path,) = download([FILE], tmp_path, quiet).brought
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["", "", *["bytes=100000-"] * 4, *["bytes=150000-"] * 2]  # hub, then storage


def test_a_server_without_ranges_begins_again(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[200_000], ranges=False))
    (path,) = download([FILE], tmp_path, quiet).brought
    assert path.read_bytes() == CONTENT


def test_a_connection_that_drops_often_arrives_if_each_brings_something(
    server: StandIn, tmp_path: Path
) -> None:
    server.serve(FILE, Served(CONTENT, drops=[20_000] * (hub.TRIES + 2)))
    (path,) = download([FILE], tmp_path, quiet).brought
    assert path.read_bytes() == CONTENT


def test_a_part_holds_only_what_the_last_beginning_brought(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[200_000, 50_000], ranges=False))
    waited: list[int] = []

    def stop(event: DownloadEvent) -> None:
        if event.note.startswith("waiting"):
            waited.append(event.done)
            if len(set(waited)) > 1:
                raise Cancelled

    with pytest.raises(Cancelled):
        download([FILE], tmp_path, stop)
    (part,) = parts(tmp_path)
    assert part.read_bytes() == CONTENT[:50_000]


def test_another_part_than_asked_for_is_refused(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[100_000], shifted_ranges=True))
    with pytest.raises(UserError, match="another part of the file"):
        download([FILE], tmp_path, quiet)
    assert not target_of(FILE, tmp_path).exists()


def test_stop_keeps_the_part_and_the_next_time_goes_on(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[120_000]))

    def stop(event: DownloadEvent) -> None:
        if event.note.startswith("waiting"):  # after the connection was dropped
            raise Cancelled

    with pytest.raises(Cancelled):
        download([FILE], tmp_path, stop)
    (part,) = parts(tmp_path)
    assert part.read_bytes() == CONTENT[:120_000] and not target_of(FILE, tmp_path).exists()
    server.asked.clear()
    begun: list[int] = []
    download([FILE], tmp_path, lambda event: begun.append(event.done))
    assert set(server.ranges) == {"bytes=120000-"} and 120_000 in begun
    assert target_of(FILE, tmp_path).read_bytes() == CONTENT and not parts(tmp_path)


def test_a_part_that_was_whole_is_only_checked(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, drops=[len(CONTENT) - 1]))

    def stop(event: DownloadEvent) -> None:
        if event.note:
            raise Cancelled

    with pytest.raises(Cancelled):
        download([FILE], tmp_path, stop)
    (part,) = parts(tmp_path)
    part.write_bytes(CONTENT)
    server.asked.clear()
    download([FILE], tmp_path, quiet)
    assert server.ranges == [] and target_of(FILE, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("small", [False, True], ids=["sha256", "git"])
def test_wrong_bytes_are_deleted_and_told(server: StandIn, tmp_path: Path, small: bool) -> None:
    server.serve(FILE, Served(CONTENT, wrong=True, small=small))
    with pytest.raises(UserError, match="one file.safetensors arrived with wrong bytes and was deleted"):
        download([FILE], tmp_path, quiet)
    assert not parts(tmp_path) and not target_of(FILE, tmp_path).exists()


def test_a_server_without_an_end_does_not_fill_the_disk(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, endless=True))
    with pytest.raises(UserError, match="wrong bytes"):
        download([FILE], tmp_path, quiet)
    assert not parts(tmp_path)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_passing_failure_is_tried_again(server: StandIn, tmp_path: Path, status: int) -> None:
    server.serve(FILE, Served(CONTENT, statuses=[status] * 3))
    assert download([FILE], tmp_path, quiet).brought


def test_the_hub_is_given_the_pause_it_asks_for(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT, statuses=[429], headers={"Retry-After": "1"}))
    notes: list[str] = []
    download([FILE], tmp_path, lambda event: notes.append(event.note))
    waits = [note for note in notes if note.startswith("waiting")]
    assert 4 <= len(waits) <= 7, "in fifths of a second"
    assert waits[0] == "waiting 1 s: the hub limits the number of downloads from this address"


REFUSED: list[tuple[Served, str]] = [
    (Served(CONTENT, statuses=[401]), "only to those who are logged in. Accept the licence at .*HF_TOKEN"),
    (
        Served(CONTENT, statuses=[403], headers={"X-Error-Code": "GatedRepo"}),
        "only to those who are logged in",
    ),
    (Served(CONTENT, statuses=[401], headers={"X-Error-Code": "RepoNotFound"}), "the hub has no folder/one"),
    (Served(CONTENT, statuses=[404]), "the hub has no folder/one file.safetensors in someone/models"),
    (
        Served(CONTENT, statuses=[429], headers={"Retry-After": "3600"}),
        "limits the number .* Try again later",
    ),
    (Served(CONTENT, statuses=[429] * 20), "limits the number"),
    (Served(CONTENT, statuses=[418]), "the hub answers 418"),
    (Served(CONTENT, drops=[0] * 20), "no connection to 127.0.0.1.* goes on where it stopped"),
]


@pytest.mark.parametrize(("served", "words"), REFUSED, ids=[words[:24] for _, words in REFUSED])
def test_a_refusal_is_one_sentence(server: StandIn, tmp_path: Path, served: Served, words: str) -> None:
    server.serve(FILE, served)
    with pytest.raises(UserError, match=words):
        download([FILE], tmp_path, quiet)
    assert not target_of(FILE, tmp_path).exists()


def test_an_unconfirmed_name_is_said_when_it_is_not_there(server: StandIn, tmp_path: Path) -> None:
    assert server.address
    with pytest.raises(UserError, match="never confirmed"):
        download([replace(FILE, confirmed=False)], tmp_path, quiet)


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(hub.ENDPOINT, f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(hub, "FIRST_WAIT", 0.01)
    with pytest.raises(UserError, match=r"no connection to 127.0.0.1:\d+ .*Check the network; a mirror"):
        download([FILE], tmp_path, quiet)


@pytest.mark.parametrize("address", ["hf-mirror.com", "ftp://x", "http://"])
def test_a_mirror_that_is_no_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(hub.ENDPOINT, address)
    with pytest.raises(UserError, match="HF_ENDPOINT is no address"):
        download([FILE], tmp_path, quiet)


@pytest.mark.parametrize("content", [b"mine", CONTENT[:-1]])
def test_a_file_of_the_user_is_never_replaced(server: StandIn, tmp_path: Path, content: bytes) -> None:
    server.serve(FILE, Served(CONTENT))
    target = target_of(FILE, tmp_path)
    target.parent.mkdir()
    target.write_bytes(content)
    with pytest.raises(UserError, match="is there already with other content"):
        download([FILE], tmp_path, quiet)
    assert target.read_bytes() == content and not server.ranges


def test_a_file_that_appears_meanwhile_is_not_replaced(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT))
    target = target_of(FILE, tmp_path)

    def appears(event: DownloadEvent) -> None:
        if event.note.startswith("checking"):
            target.write_bytes(b"mine")

    with pytest.raises(UserError, match="is there already"):
        download([FILE], tmp_path, appears)
    assert target.read_bytes() == b"mine"


def test_the_disk_is_looked_at_first(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve(FILE, Served(CONTENT))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000_001))
    with pytest.raises(UserError, match="not enough space .* 0.3 MB needed, 200.0 MB free"):
        download([FILE], tmp_path / "new", quiet)
    assert not server.ranges and not (tmp_path / "new").exists()


@pytest.mark.parametrize("pinned", [True, False])
def test_only_the_file_that_is_known_is_taken(server: StandIn, tmp_path: Path, pinned: bool) -> None:
    server.serve(FILE, Served(CONTENT))
    wanted = replace(FILE, sha256="0" * 64 if pinned else None)
    if pinned:
        with pytest.raises(UserError, match="is not the file that this project knows"):
            download([wanted], tmp_path, quiet)
    else:
        assert download([wanted], tmp_path, quiet).brought


def test_a_token_goes_to_the_hub(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.serve(FILE, Served(CONTENT))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download([FILE], tmp_path, quiet)
    assert all(token == "Bearer hf_secret" for path, token in server.tokens if "storage" not in path)


def test_two_programs_do_not_write_one_file(server: StandIn, tmp_path: Path) -> None:
    server.serve(FILE, Served(CONTENT))
    said: list[str] = []

    def second(event: DownloadEvent) -> None:
        if event.note.startswith("checking") and not said:
            try:
                download([FILE], tmp_path, quiet)
            except UserError as error:
                said.append(str(error))

    download([FILE], tmp_path, second)
    assert "another window" in said[0] and target_of(FILE, tmp_path).read_bytes() == CONTENT


def test_the_time_left_is_told(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.serve(FILE, Served(CONTENT))
    clock: Callable[[], float] = iter(range(10_000)).__next__
    monkeypatch.setattr("wanvideo.downloads.progress.time", SimpleNamespace(monotonic=clock))
    events: list[DownloadEvent] = []
    download([FILE], tmp_path, events.append)
    told = [event for event in events if event.seconds_left is not None]
    assert told and told[0].rate and "MB/s" in told[0].words and " left" in told[0].words
    assert told[0].seconds_left == pytest.approx((told[0].total - told[0].done) / told[0].rate)
