"""Logins, a guest's view of queue and page, and the cleaning of uploads: without a server."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.context import LocalContext

from tests.ui.test_fields import CPU
from ui import uploads
from ui.guests import CLOSED_PARTS, OPEN_TABS, close_to_guests, closed_parts
from ui.logins import FIRST_WAIT, FREE_GUESSES, LONGEST_WAIT, Account, Accounts, LoginLimit, read_account
from ui.page import build_page
from ui.uploads import UploadCleaner, clean_uploads, files_of
from ui.visitors import MOST_GUEST_JOBS, VisitorStore
from wanvideo.errors import UserError
from wanvideo.jobs.forms import FormStore
from wanvideo.jobs.job import QUEUED
from wanvideo.jobs.orders import UP, copy_job, edit_job, move_job, pause_queue
from wanvideo.request import RuntimeOptions, read_request

ACCOUNTS = Accounts(owner=Account(name="boss", password="a:b"), guest=Account(name="friend", password="pass"))
OPTIONS = RuntimeOptions()
DAY = 86_400


@contextmanager
def event_of(name: str | None) -> Iterator[None]:
    """What runs inside is an event of that login."""
    token = LocalContext.request.set(SimpleNamespace(username=name))  # type: ignore[arg-type]
    try:
        yield
    finally:
        LocalContext.request.reset(token)


@pytest.fixture
def store(tmp_path: Path) -> VisitorStore:
    places = [tmp_path / "out", tmp_path / "examples", tmp_path / "out" / "uploads"]
    return VisitorStore(tmp_path / "out" / "jobs" / "queue.sqlite", ACCOUNTS, places)


def add(store: VisitorStore, name: str | None, **request: Any) -> int:
    with event_of(name):
        return store.add(read_request({"task": "text_to_video", "prompt": "x", **request}), OPTIONS)


def test_only_the_two_logins_come_in() -> None:
    assert ACCOUNTS.check("boss", "a:b") and ACCOUNTS.check("friend", "pass")
    for name, password in (("boss", "pass"), ("friend", "a:b"), ("boss", ""), ("", ""), ("bös", "\udc80")):
        assert not ACCOUNTS.check(name, password)
    assert not Accounts().check("", "") and not Accounts().is_guest(None)
    assert read_account("boss:a:b") == ACCOUNTS.owner
    assert not any(map(read_account, ("", "boss", "boss:", ":b", " :b")))


def test_wrong_logins_wait_longer_and_longer() -> None:
    now = 0.0
    limit = LoginLimit(lambda: now)
    for _ in range(FREE_GUESSES):
        assert limit.seconds_to_wait("a") == 0
        limit.count("a", False)
    assert limit.seconds_to_wait("a") == FIRST_WAIT and limit.seconds_to_wait("b") == 0
    now = FIRST_WAIT
    assert limit.seconds_to_wait("a") == 0
    limit.count("a", False)
    assert limit.seconds_to_wait("a") == 2 * FIRST_WAIT
    for _ in range(50):
        limit.count("a", False)
    assert limit.seconds_to_wait("a") == LONGEST_WAIT
    limit.count("a", True)
    assert limit.seconds_to_wait("a") == 0


def test_a_guest_sees_and_stops_his_own_jobs_only(store: VisitorStore) -> None:
    theirs, own = add(store, "boss"), add(store, "friend")
    with event_of("friend"):
        assert [job.id for job in store.list()] == [own] == [job.id for job in store.waiting()]
        assert store.get(theirs) is None
        with pytest.raises(gr.Error, match="guest"):
            store.request_stop(theirs)
        with pytest.raises(gr.Error, match="guest"):
            store.request_unload()
        with pytest.raises(gr.Error, match="guest"), store.writing() as database:
            database.execute("UPDATE jobs SET position = 0 WHERE id = ?", (own,))
        store.request_stop(own)
    for name in ("boss", None):
        with event_of(name):
            assert [job.state for job in store.list()] == ["stopped", QUEUED]
    assert [job.id for job in store.waiting()] == [theirs] and store.unload_state() == (None, None)


def test_a_guest_orders_his_own_jobs_and_overtakes_nobody(store: VisitorStore, tmp_path: Path) -> None:
    first, theirs, second = add(store, "friend"), add(store, "boss"), add(store, "friend")
    with event_of("friend"):
        move_job(store, second, UP)
        assert [job.id for job in store.waiting()] == [second, first]
        for forbidden in (lambda: move_job(store, theirs, UP), lambda: pause_queue(store)):
            with pytest.raises((gr.Error, UserError)):
                forbidden()
        with pytest.raises(gr.Error, match="guest"), store.writing() as database:
            database.execute("UPDATE jobs SET position = -1 WHERE id = ?", (first,))
        request = read_request({"task": "talk", "image": str(tmp_path / "out" / "theirs.mp4")})
        with pytest.raises(gr.Error, match="not uploaded"):
            edit_job(store, first, request, OPTIONS)
        edit_job(store, first, read_request({"task": "text_to_video", "prompt": "new"}), OPTIONS)
        copy = store.get(copy_job(store, first))
        assert copy and copy.owner == "friend" and copy.request["prompt"] == "new"
    assert [job.id for job in store.waiting()] == [second, theirs, first, copy.id]


def test_a_guest_cannot_fill_the_queue(store: VisitorStore) -> None:
    for _ in range(MOST_GUEST_JOBS):
        add(store, "friend")
        add(store, "boss")
    with pytest.raises(gr.Error, match=str(MOST_GUEST_JOBS)):
        add(store, "friend")
    add(store, "boss")


def test_inputs_lie_where_the_page_put_them(store: VisitorStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    places = {
        "upload": out / "uploads/ab/a.png",
        "example": tmp_path / "examples/a.png",
        "result": out / "a.png",
    }
    talk: dict[str, Any] = {"task": "talk"}
    for name, place in places.items():
        add(store, "boss", **talk, image=str(place))
        if name != "result":
            add(store, "friend", **talk, audio=[str(place)])
    with pytest.raises(gr.Error, match=r"a\.png"):
        add(store, "friend", **talk, image=str(places["result"]))
    (out / "uploads").mkdir()
    (out / "uploads" / "link").symlink_to(tmp_path)
    for outside in ("/etc/passwd", f"{out}/../secret.png", f"{out}/uploads/link/secret.png"):
        for name in ("boss", None):
            with pytest.raises(gr.Error, match="not uploaded"):
                add(store, name, **talk, audio=[str(places["upload"]), outside])


def test_a_guest_reads_his_own_results(store: VisitorStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("boss", "friend"):
        add(store, name)
        job = store.claim("worker")
        assert job
        store.set_windows(job, out / ".work" / name, {})
        store.finish(job, {"output": str(out / f"{name}.mp4")})
    for place in (
        out / "friend.mp4",
        out / ".work/friend/w.mp4",
        out / "uploads/a.png",
        tmp_path / "icon.svg",
    ):
        assert store.guest_may_read(place), place
    for place in (out / "boss.mp4", out / ".work/boss/w.mp4", out / "other.mp4", out / "jobs/queue.sqlite"):
        assert not store.guest_may_read(place), place


def test_every_tab_but_the_open_ones_is_closed_to_a_guest(store: VisitorStore, tmp_path: Path) -> None:
    blocks = build_page(store, {"output_dir": str(tmp_path / "out")}, CPU)
    tabs = [block for block in blocks.blocks.values() if isinstance(block, gr.Tab)]
    closed = closed_parts(blocks)
    assert set(OPEN_TABS) == {tab.id for tab in tabs if tab not in closed}
    assert set(CLOSED_PARTS) <= {getattr(block, "elem_id", None) for block in closed}
    before = {number: function.fn for number, function in blocks.fns.items()}
    close_to_guests(blocks, ACCOUNTS)
    inside = {block for block in blocks.blocks.values() if lies_in(block, closed)}
    ids = {block._id for block in inside}
    checked = 0
    for number, call in before.items():
        function = blocks.fns[number]
        if call is None or not any(target in ids for target, _ in function.targets):
            continue
        checked += 1
        values = [None] * len(function.inputs)
        with event_of("friend"), pytest.raises(gr.Error, match="guest"):
            next(iter(function.fn(*values) or ()))  # type: ignore[misc]
    assert checked > 5
    hide, outputs = list(blocks.fns.values())[-1].fn, list(blocks.fns.values())[-1].outputs
    shown = {}
    for name in ("friend", "boss", None):
        with event_of(name):
            style, *updates = hide()  # type: ignore[misc]
            shown[name] = {update["visible"] for update in updates}
            named = [tab for tab in tabs if tab in closed and f"'{tab.id or tab._id}'" in style]
            assert len(named) == (3 if name == "friend" else 0)
    assert shown == {"friend": {False}, "boss": {True}, None: {True}} and set(closed) <= set(outputs)


def lies_in(block: Any, places: list[Any]) -> bool:
    return block in places or (block.parent is not None and lies_in(block.parent, places))


def test_what_goes_into_closed_tabs_is_kept_from_a_guest() -> None:
    with gr.Blocks() as blocks:
        with gr.Tab("Generation", id=OPEN_TABS[0]):
            shown, button = gr.HTML(), gr.Button()
        with gr.Tab("Files"):
            hidden, other = gr.HTML(), gr.Button()
        both = button.click(lambda: {shown: "open", hidden: "closed"}, None, [shown, hidden])
        alone = button.click(lambda: "closed", None, hidden)
        chained = other.click(lambda: "x", None, shown).then(lambda: "y", None, shown)
    close_to_guests(blocks, ACCOUNTS)
    calls = {name: blocks.fns[event["id"]].fn for name, event in (("both", both), ("alone", alone))}
    with event_of("friend"):
        assert calls["both"]() == {shown: "open"}  # type: ignore[misc]
        assert "closed" not in str(calls["alone"]())  # type: ignore[misc]
        with pytest.raises(gr.Error):
            blocks.fns[chained["id"]].fn()  # type: ignore[misc]
    with event_of("boss"):
        assert calls["both"]() == {shown: "open", hidden: "closed"}  # type: ignore[misc]


def write_upload(folder: Path, number: int, days: float, size: int = 10) -> Path:
    path = folder / f"{number:064x}" / "a.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_old_uploads_go_and_those_of_jobs_stay(
    store: VisitorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "uploads"
    later = time.time() + 30 * DAY  # the time of change can't be set, so it is the clock that moves
    old, used, other = write_upload(folder, 1, 0), write_upload(folder, 2, 0), folder / "mine" / "a.png"
    other.parent.mkdir()
    other.write_bytes(b"not gradio's")
    add(store, "boss", task="talk", image=str(used))
    kept = files_of(store.list())
    assert clean_uploads(folder, kept) == 0, "nothing is old yet"
    assert clean_uploads(folder, kept, later) == 10
    assert not old.parent.exists() and used.exists() and other.exists()
    monkeypatch.setattr(uploads, "MOST_BYTES", 25)
    files = [write_upload(folder, number, 0) for number in (3, 4, 5)]
    assert clean_uploads(folder, kept) == 0, "what was uploaded today stays, however much it is"
    assert clean_uploads(folder, kept, time.time() + 2 * DAY) == 20
    assert used.exists() and sum(file.exists() for file in files) == 1


def test_uploads_of_kept_forms_and_batches_stay(store: VisitorStore, tmp_path: Path) -> None:
    folder, forms = tmp_path / "out" / "uploads", FormStore(store.path)
    later = time.time() + 30 * DAY
    shown, batched, old = (write_upload(folder, number, 0) for number in (1, 2, 3))
    forms.keep("", {"talk": {"image": [str(shown)], "prompt": ["/\0", "/no file"]}})
    forms.keep("guest", {"batch": {"files": [str(batched)], "seeds": ""}})
    clean_uploads(folder, files_of(store.list(), forms.every()), later)
    assert shown.exists() and batched.exists() and not old.exists()
    forms.keep("", {"talk": {"image": [None]}})
    clean_uploads(folder, files_of(store.list(), forms.every()), later)
    assert not shown.exists() and batched.exists()


def test_the_cleaner_cleans_at_once_and_ends(store: VisitorStore, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(uploads, "OLDEST_SECONDS", -1)
    monkeypatch.setattr(uploads, "YOUNGEST_SECONDS", -1)
    upload, kept = (write_upload(tmp_path / "up", number, 0) for number in (1, 2))
    cleaner = UploadCleaner(tmp_path / "up", store.list, lambda: [{"image": [str(kept)]}])
    cleaner.start()
    end = time.monotonic() + 10
    while upload.exists() and time.monotonic() < end:
        time.sleep(0.01)
    cleaner.stop()
    assert not upload.exists() and kept.exists()
