"""The page beside a long queue, in a light version: what is sent and read is counted. `tools/page_figures`
measures the seconds.
"""

from collections.abc import Iterator

import gradio as gr
import pytest

from tools.page_figures import __main__ as page_figures
from tools.page_figures.crowd import crowd
from tools.page_figures.measuring import FORM, QUIET_BYTES, Figure, jobs
from tools.page_figures.server import running_page
from tools.page_figures.visit import Visit
from ui.job_events import NOTHING_SEEN, look_at_jobs
from ui.parts import Page
from wanvideo.jobs.job import PAUSED, queue_file
from wanvideo.jobs.store import JobStore

ENDED, WAITING = 300, 200
SHOWN_ENDED = 50
GENEROUS_MS = 5000.0  # for a machine that does other things too


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> JobStore:
    store = JobStore(queue_file(tmp_path_factory.mktemp("long") / "out"))
    crowd(store, ENDED, WAITING)
    return store


@pytest.fixture(scope="module")
def port(store: JobStore) -> Iterator[int]:
    with running_page(store.path.parents[2]) as port:
        yield port


def test_the_crowd_is_what_it_says(store: JobStore) -> None:
    listed = store.list(limit=ENDED + 1)
    assert sum(job.state == PAUSED for job in listed) == WAITING and len(listed) == ENDED + WAITING
    ended = [job.ended for job in listed if job.ended]
    assert len(set(ended)) == ENDED and all(job.result["effective"] for job in listed if job.ended)


def test_a_tick_without_news_sends_no_card(page: Page) -> None:
    crowd(page.store, ENDED, WAITING)
    view = gr.State()
    first = look_at_jobs(page, view, dict(NOTHING_SEEN))
    assert first[page.generation.queue].count("<li") == WAITING + SHOWN_ENDED
    assert set(look_at_jobs(page, view, first[view])) <= {view}


def test_over_http_a_visitor_gets_the_queue_once(port: int) -> None:
    visit = Visit(port)
    first, second = (visit.cause("tick", "queue") for _ in range(2))
    assert first.changes["queue"].count("<li") == WAITING + SHOWN_ENDED
    assert not second.changes and second.size <= QUIET_BYTES < first.size


def test_every_answer_comes_in_a_generous_time(port: int) -> None:
    visit = Visit(port)
    foreseen = visit.cause("change", "forecast", FORM)
    assert "64 × 64" in foreseen.changes["forecast"] and "8 steps" in foreseen.changes["forecast"]
    taken = [foreseen, visit.open(), *(visit.cause("tick", "queue") for _ in range(3))]
    assert max(answer.seconds for answer in taken) * 1000 < GENEROUS_MS


def test_a_job_passes_beside_the_waiting_ones(port: int, store: JobStore) -> None:
    for figure in jobs(port, store, 1):
        assert 0 < figure.worst < GENEROUS_MS, figure


def test_what_the_page_does_not_have_is_said(port: int) -> None:
    visit = Visit(port)
    with pytest.raises(RuntimeError, match="no such widget: Colour of the sky"):
        visit.cause("change", "forecast", {"Colour of the sky": 1})
    with pytest.raises(RuntimeError, match="no event knock of queue"):
        visit.cause("knock", "queue")


@pytest.mark.parametrize(("worst", "code"), [(300.0, 0), (300.5, 1)])
def test_a_figure_that_is_missed_ends_with_1(
    worst: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Figure(what="tick", values=[20.0, 40.0, worst], limit=300.0)]
    monkeypatch.setattr(page_figures, "measure", lambda _flags: made)
    assert page_figures.main([]) == code
    assert ("MISSED" in capsys.readouterr().out) == bool(code)
    assert page_figures.main(["--json"]) == code
    assert f'"median": 40.0, "worst": {worst}' in capsys.readouterr().out
