"""A Chromium, a page over the pocket model and one over tiny models, and a person before each of them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.tiny_models import write_tiny_models
from tests.ui.browser.person import Person
from tests.ui.browser.studio import Studio
from tests.ui.running_page import ROOT, running_page
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ("--disable-gpu", "--disable-background-networking", "--no-first-run")
WIDE = {"width": 1280, "height": 1000}
PATIENCE_MS = 120_000
Visit = Callable[..., Person]


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """The system's own browser, without a window."""
    api: Any = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=list(SWITCHES), chromium_sandbox=False
        )
        yield opened
        opened.close()


@contextmanager
def _studio(home: Path, models: Path) -> Iterator[Studio]:
    with running_page(home, "--models-dir", str(models)) as port:
        store = JobStore(queue_file(home / "out"))
        yield Studio(address=f"http://127.0.0.1:{port}/", store=store, output=home / "out", models=models)


@pytest.fixture(scope="session")
def pocket_studio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """The application as it comes: the pocket model is all it has."""
    request.getfixturevalue("chromium")  # without a browser no application is started
    with _studio(tmp_path_factory.mktemp("pocket"), ROOT / "models") as studio:
        yield studio


@pytest.fixture(scope="session")
def tiny_studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Random models at the smallest legal sizes: every job is over in seconds."""
    request.getfixturevalue("chromium")
    home = tmp_path_factory.mktemp("tiny")
    with _studio(home, write_tiny_models(home / "models")) as studio:
        yield studio


@pytest.fixture
def visit(chromium: "Browser") -> Iterator[Visit]:
    """A new visitor of a studio. At the end of the test no visitor's browser may have reported an error."""
    contexts, studios, faults = [], [], list[str]()

    def begin(studio: Studio, **wishes: Any) -> Person:
        context = chromium.new_context(**{"viewport": WIDE, "locale": "en-US", **wishes})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        studios.append(studio)
        return Person(context.new_page(), studio, faults).open()

    yield begin
    for context in contexts:
        context.close()
    for studio in studios:
        studio.settle()
    assert not faults, "the browser reported: " + "; ".join(faults)


@pytest.fixture
def pocket(visit: Visit, pocket_studio: Studio) -> Person:
    """A newcomer before the empty page over the pocket model."""
    return visit(pocket_studio)


@pytest.fixture
def tiny(visit: Visit, tiny_studio: Studio) -> Person:
    """A newcomer before the empty page over tiny models."""
    return visit(tiny_studio)
