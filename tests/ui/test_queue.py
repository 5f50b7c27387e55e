"""The queue on the page: each state has its buttons, each button its effect, and a job can be changed."""

import re
import warnings
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ui.job_events import NOTHING_SEEN, add_jobs, do_in_row, hold_or_go_on, look_at_jobs
from ui.parts import Page
from ui.queue import ACTIONS, ORDERS, SLOWLY, queue_card
from ui.texts import say
from wanvideo.jobs.job import CARD, DONE, FAILED, OTHER, PAUSED, QUEUED, STATES, STOPPED
from wanvideo.request import GenerationRequest, RuntimeOptions

STATE = gr.State()


def add(page: Page, count: int = 1) -> list[int]:
    return [
        page.store.add(GenerationRequest(prompt=f"clip {index}", seed=index), RuntimeOptions())
        for index in range(count)
    ]


def click(page: Page, action: str, job: int, seen: Any = NOTHING_SEEN) -> dict[Any, Any]:
    return do_in_row(page, STATE, dict(seen), SimpleNamespace(action=action, job=job))


def rows(page: Page) -> list[int]:
    """Numbers of the jobs from top to bottom."""
    return [int(number) for number in re.findall(r"#(\d+) ", queue_card(page.store.list(), None))]


def into(page: Page, job: int, state: str, kind: str = OTHER) -> None:
    """Bring the only waiting job into a state by the store's own ways."""
    if state == PAUSED:
        click(page, "pause", job)
    elif state != QUEUED:
        held = page.store.claim("w")
        assert held is not None and held.id == job
        if state == DONE:
            page.store.finish(held, {"output": "clip.mp4"})
        elif state == FAILED:
            page.store.fail(held, "no", kind)
        elif state == STOPPED:
            page.store.stop(held, {})


@pytest.mark.parametrize("state", STATES)
def test_each_state_offers_what_can_be_done(page: Page, state: str) -> None:
    (job,) = add(page)
    into(page, job, state)
    card = queue_card(page.store.list(), None)
    offered = re.findall(r"data-action='(\w+)'", card)
    has_card = state in (DONE, FAILED)
    hidden = {SLOWLY} if has_card else {"show"}
    assert offered == [action for action in ACTIONS[state] if action not in hidden]
    for action in offered:
        assert say(f"queue_{action}") in card


def test_launches_that_wait_are_offered_once_after_an_error_of_the_card(page: Page) -> None:
    (job,) = add(page)
    into(page, job, FAILED, CARD)
    assert f"data-action='{SLOWLY}'" in queue_card(page.store.list(), None)
    click(page, SLOWLY, job)
    again = page.store.get(job)
    assert again is not None and (again.state, again.blocking) == (QUEUED, True)
    into(page, job, FAILED, CARD)
    assert f"data-action='{SLOWLY}'" not in queue_card(page.store.list(), None)


@pytest.mark.parametrize(
    ("state", "action"), [(s, a) for s, actions in ACTIONS.items() for a in actions if a in ORDERS]
)
def test_each_button_does_something(page: Page, state: str, action: str) -> None:
    (job,) = add(page)
    into(page, job, state)
    (other,) = add(page)
    if action == "up":
        click(page, "up", other)
    before = facts(page)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an order that was refused is a toast
        click(page, action, job)
    assert facts(page) != before


def facts(page: Page) -> list[tuple[Any, ...]]:
    found = page.store.list()
    return [(job.id, job.state, job.position, job.stop_requested, job.pause_requested) for job in found]


def test_rows_stand_in_the_order_of_their_making(page: Page) -> None:
    first, second, third = add(page, 3)
    assert page.store.claim("w") is not None
    assert rows(page) == [first, second, third]
    click(page, "up", third)
    assert rows(page) == [first, third, second]
    click(page, "down", third)
    assert rows(page) == [first, second, third]


def test_an_order_that_comes_too_late_is_told(page: Page) -> None:
    (job,) = add(page)
    page.store.claim("w")
    with pytest.warns(UserWarning, match="running"):
        click(page, "up", job)


def test_what_is_no_action_is_refused(page: Page) -> None:
    (job,) = add(page)
    with pytest.raises(KeyError):
        click(page, "__class__", job)


def test_a_waiting_job_is_changed_in_its_place(page: Page, values: dict[Any, Any]) -> None:
    add_jobs(page, values)
    add_jobs(page, values)
    second, first = (job.id for job in page.store.list())
    updates = click(page, "edit", first)
    seen = updates[STATE]
    assert seen["editing"] == first
    assert updates[page.generation.generate]["value"] == say("queue_editing", job=first)
    assert updates[page.form["prompt"]]["value"] == values[page.form["prompt"]]
    after = add_jobs(page, values | {page.form["prompt"]: "another"}, seen)
    assert after["editing"] is None
    assert [page.store.get(job).request["prompt"] for job in (first, second)] == [  # type: ignore[union-attr]
        "another",
        values[page.form["prompt"]],
    ]
    assert len(page.store.list()) == 2
    button = look_at_jobs(page, STATE, after)[page.generation.generate]
    assert button["value"] == say("generate")


def test_a_job_that_has_begun_is_no_longer_edited(page: Page, values: dict[Any, Any]) -> None:
    add_jobs(page, values)
    (job,) = page.store.list()
    seen = click(page, "edit", job.id)[STATE]
    page.store.claim("w")
    assert look_at_jobs(page, STATE, seen)[STATE]["editing"] is None
    with pytest.warns(UserWarning, match="running"):
        add_jobs(page, values, seen)


def test_reuse_draws_a_new_seed_and_edit_keeps_it(page: Page, values: dict[Any, Any]) -> None:
    add_jobs(page, values | {page.form["seed"]: 11})
    (job,) = page.store.list()
    assert click(page, "edit", job.id)[page.form["seed"]]["value"] == 11
    assert click(page, "reuse", job.id)[page.form["seed"]]["value"] == -1


def test_a_line_beside_the_button_counts_what_runs_and_waits(page: Page) -> None:
    def line() -> str:
        return str(look_at_jobs(page, STATE, dict(NOTHING_SEEN))[page.generation.queue_line])

    assert line() == ""
    first, second, _ = add(page, 3)
    click(page, "pause", second)
    held = page.store.claim("w")
    assert held is not None and held.id == first
    words = (say(f"queue_line_{what}", count=1) for what in ("running", "waiting", "paused"))
    assert " · ".join(words) in line() and "href='#queue'" in line()
    page.store.finish(held, {})
    assert "running" not in line() and say("queue_line_waiting", count=1) in line()


def test_the_queue_as_a_whole_can_wait(page: Page) -> None:
    add(page)
    hold_or_go_on(page)
    assert page.store.claim("w") is None
    updates = look_at_jobs(page, STATE, dict(NOTHING_SEEN))
    assert say("queue_paused") in updates[page.generation.queue]
    assert updates[page.generation.hold]["value"] == say("queue_go_on")
    hold_or_go_on(page)
    assert page.store.claim("w") is not None
