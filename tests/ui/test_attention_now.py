"""Another attention for the job that runs: what the page offers, and what a choice does."""

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ui.attention_now import attention_list, switch_now
from ui.cards import live_card, running_job
from ui.fields import name_choices
from ui.job_events import NOTHING_SEEN, look_at_jobs
from ui.language import speaking
from ui.parts import Page
from ui.texts import say
from wanvideo.fallback import obstacle
from wanvideo.jobs.job import Job
from wanvideo.registry import attention_backends
from wanvideo.request import GenerationRequest, RuntimeOptions


def begin(page: Page, window: int = 0, windows: int = 3) -> Job:
    number = page.store.add(GenerationRequest(prompt="a", seed=1), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None and job.id == number
    page.store.progress(job, {"stage": "denoise", "window": window, "windows": windows})
    page.store.set_windows(job, page.store.path.parent / "folder", {"attention": "sdpa"})
    return running(page)


def running(page: Page) -> Job:
    job = running_job(page.store.list())
    assert job is not None
    return job


def choices(html: str) -> dict[str, str]:
    """Value -> whether it is selected or disabled."""
    return dict(re.findall(r"<option value='(\w+)'( selected| disabled|)>", html))


def choose(page: Page, job: Job, name: str) -> None:
    switch_now(page, SimpleNamespace(job=job.id, name=name))


@pytest.fixture
def toasts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    for kind in ("Info", "Warning"):
        monkeypatch.setattr(gr, kind, lambda text, **_: told.append(text))
    return told


def test_every_backend_is_there_and_what_can_t_run_tells_why(page: Page) -> None:
    html = attention_list(page, begin(page))
    found = choices(html)
    assert list(found) == [name for _, name in name_choices("attention")]
    for name, row in attention_backends().items():
        reason = obstacle(row, page.machine, {})
        assert found[name] == (" selected" if name == "sdpa" else " disabled" if reason else "")
        assert reason is None or reason in html
    with speaking("zh"):
        assert say("live_attention") in attention_list(page, running(page))


@pytest.mark.parametrize(("window", "windows"), [(0, 1), (2, 3)])
def test_a_job_without_a_window_to_come_has_no_list(page: Page, window: int, windows: int) -> None:
    assert attention_list(page, None) == attention_list(page, begin(page, window, windows)) == ""


def test_a_job_that_leaves_has_no_list(page: Page) -> None:
    page.store.request_stop(begin(page).id)
    assert attention_list(page, running(page)) == ""


def test_a_choice_is_an_order_and_is_told(page: Page, toasts: list[str]) -> None:
    job = begin(page)
    choose(page, job, "flash_attn_2")
    assert running(page).attention == "flash_attn_2"
    assert toasts == [say("live_attention_set", name="flash_attn_2")]
    assert choices(attention_list(page, running(page)))["flash_attn_2"] == " selected"


@pytest.mark.parametrize("name", ["nothing_like_it", "sdpa"])
def test_what_can_t_be_is_told(page: Page, toasts: list[str], name: str) -> None:
    job = begin(page)
    if name == "sdpa":
        page.store.finish(job, {"output": "a.mp4"})
    choose(page, job, name)
    found = page.store.get(job.id)
    assert found is not None and found.attention is None
    assert len(toasts) == 1 and toasts[0] != say("live_attention_set", name=name)


def test_the_list_and_the_notes_are_on_the_page(page: Page) -> None:
    job = begin(page)
    page.store.note(job, "from window 2 on with sdpa, as was asked")
    updates: dict[Any, Any] = look_at_jobs(page, gr.State(), dict(NOTHING_SEEN))
    assert "<select" in updates[page.generation.attention]
    assert "From window 2 on with sdpa" in live_card([running(page)])
    again = look_at_jobs(page, gr.State(), updates[next(w for w in updates if isinstance(w, gr.State))])
    assert page.generation.attention not in again, "an open list is left alone"
