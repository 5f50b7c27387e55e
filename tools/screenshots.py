"""Pictures of every tab for the documentation: `python -m tools.screenshots [DIR]`.

Starts the application on the pocket model in a folder of its own, lets it make a few videos, leaves one job
running, two waiting and one failed, and photographs each tab in light and dark with the system's Chromium;
some of them also in Chinese and as wide as a phone.
Needs `playwright` (requirements-dev.txt) and takes some minutes on a processor.
"""

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tools.page_figures.server import ROOT, running_page
from wanvideo.cache_folder import VARIABLE
from wanvideo.jobs.job import QUEUED, RUNNING, queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.request import read_options, read_request

EXAMPLES = ROOT / "examples"
WIDTH, PHONE_WIDTH, HEIGHT, TALLEST = 1280, 390, 900, 2050
LARGEST_BYTES = 150_000
MAKING_SECONDS = 600.0
TABS = ("generation", "models", "files", "gallery", "system")
# What tells that a tab has been filled by the server.
FILLED = ("#so-far video", "#plan td", "#recipes li", "#gallery-card h3", "#probes td")
TALKING = {
    "task": "talk",
    "image": str(EXAMPLES / "girl.png"),
    "audio": [str(EXAMPLES / "hello.wav")],
    "prompt": "a cartoon girl with long brown hair is talking outdoors",
}
NODDING = {"task": "image_to_video", "prompt": "an orange cat nods", "image": str(EXAMPLES / "cat.png")}
FINISHED: tuple[dict[str, Any], ...] = (
    {"task": "text_to_video", "prompt": "a red ball bounces in front of a blue wall", "seconds": 1.3},
    {
        "task": "image_to_video",
        "prompt": "an orange cat nods",
        "image": str(EXAMPLES / "cat.png"),
        "seconds": 1.3,
    },
    {**NODDING, "prompt": "a picture that is none", "image": str(ROOT / "README.md")},
    {**TALKING, "seconds": 2.2},  # two windows
)
WAITING: tuple[dict[str, Any], ...] = (
    {**TALKING, "num_inference_steps": 40},
    {"task": "image_to_video", "prompt": "a blue robot waves", "image": str(EXAMPLES / "robot.png")},
    {"task": "text_to_video", "prompt": "a green star turns"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the page is looked at: the colours, the language and the width in pixels, and at which tabs."""

    scheme: str = "light"
    language: str = "en"
    width: int = WIDTH
    tabs: tuple[str, ...] = TABS

    def file_name(self, tab: str) -> str:
        """That of the picture; page.png is the one of the README."""
        if (tab, self) == (TABS[0], View()):
            return "page.png"
        parts = ["tabs", tab, self.scheme]
        parts += [self.language] if self.language != View().language else []
        parts += ["phone"] if self.width == PHONE_WIDTH else []
        return "_".join(parts) + ".png"


VIEWS = (
    View(),
    View(scheme="dark"),
    View(language="zh", tabs=("generation", "models")),
    View(width=PHONE_WIDTH, tabs=("generation", "gallery")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started application: its page, its queue and the folder of its results."""

    address: str
    store: JobStore
    output: Path

    def add(self, settings: dict[str, Any]) -> None:
        """Put a job into its queue."""
        options = read_options({"output_dir": str(self.output), "models_dir": str(ROOT / "models")})
        self.store.add(read_request({**settings, "seed": 7}), options)


@contextmanager
def running_application() -> Iterator[Running]:
    """The application with the pocket model; all that it writes is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ[VARIABLE] = str(home / "cache")
        with running_page(home) as port:
            store = JobStore(queue_file(home / "out"))
            yield Running(address=f"http://127.0.0.1:{port}/", store=store, output=home / "out")
            for job in store.list():
                store.request_stop(job.id)
            wait_until(lambda: not is_busy(store), MAKING_SECONDS)


def is_busy(store: JobStore) -> bool:
    """Whether a job runs or waits."""
    return any(job.state in (QUEUED, RUNNING) for job in store.list())


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Raises TimeoutError when it does not hold in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s")
        time.sleep(0.2)


def make_jobs(application: Running) -> None:
    """Finished ones and a failed one first; then one that runs its second window, and two that wait."""
    for settings in FINISHED:
        application.add(settings)
    store = application.store
    wait_until(lambda: not is_busy(store), MAKING_SECONDS)
    for settings in WAITING:
        application.add(settings)
    wait_until(lambda: any(job.windows for job in store.list() if job.state == RUNNING), MAKING_SECONDS)


def fill_page(page: Any, address: str) -> None:
    """A form as a person has it in the middle of the work, and a chosen video in the gallery."""
    page.goto(address)
    page.locator("#examples button").first.click()
    page.locator("#forecast .facts").first.wait_for()
    page.locator("#tabs [role=tab]").nth(TABS.index("gallery")).click()
    page.locator("#shelf .tile").first.click()
    page.locator("#gallery-card h3").wait_for()


def photograph(page: Any, tab: str) -> Image.Image:
    """The tab as far as it reaches, no taller than TALLEST."""
    number = TABS.index(tab)
    page.locator("#tabs [role=tab]").nth(number).click()
    page.locator(FILLED[number]).first.wait_for()
    page.wait_for_timeout(1500)  # toasts leave, players show their first frame
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    return shot.crop((0, 0, shot.width, min(shot.height, TALLEST)))


def save_small(picture: Image.Image, path: Path) -> None:
    """As a PNG of at most LARGEST_BYTES, with as many colours as that allows."""
    for colours in (256, 128, 64, 32, 16):
        file = io.BytesIO()
        reduced = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        reduced.save(file, "PNG", optimize=True)
        if len(file.getvalue()) <= LARGEST_BYTES:
            break
    path.write_bytes(file.getvalue())
    print(
        f"{path.name}: {picture.width} x {picture.height}, {colours} colours, {path.stat().st_size >> 10} kB"
    )


def make_pictures(browser: Any, address: str, folder: Path) -> None:
    """Every tab of every view."""
    for view in VIEWS:
        page = browser.new_page(
            viewport={"width": view.width, "height": HEIGHT},
            color_scheme=view.scheme,
            locale=view.language,
            reduced_motion="reduce",
        )
        fill_page(page, address)
        for tab in view.tabs:
            save_small(photograph(page, tab), folder / view.file_name(tab))
        page.close()


def main() -> None:
    """Start, make the jobs, make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "images")
    folder = parser.parse_args().folder
    from playwright.sync_api import sync_playwright

    with running_application() as application:
        make_jobs(application)
        with sync_playwright() as playwright:
            program = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
            make_pictures(browser, application.address, folder)
            browser.close()


if __name__ == "__main__":
    main()
