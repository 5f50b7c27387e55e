"""The page as a person uses it: what is clicked, typed and read, and what the browser complained about."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.ui.browser.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response

GENERATION, MODELS, FILES, GALLERY, SYSTEM = range(5)
TALK, IMAGE, TEXT = range(3)
MAKING_MS = 400_000  # one small video on a processor that others use too
NUMBERS = "[...document.querySelectorAll('#queue li b')].map(e => parseInt(e.textContent.slice(1)))"
HELD_TASK = "document.querySelector('#held-task textarea, #held-task input').value"  # whose form is shown
PLAY = """async (video) => {
  video.muted = true;
  await video.play();
  while (video.currentTime < 0.1 && !video.ended) await new Promise(done => setTimeout(done, 30));
  video.pause();
  return [video.duration, video.readyState, video.currentTime, video.videoWidth];
}"""
# The page clips what is too wide, so its own width tells nothing. What scrolls by itself may be wider inside.
SPILLS = """() => {
  const page = document.scrollingElement;
  const scrolls = (part) =>
    part && (/auto|scroll/.test(getComputedStyle(part).overflowX) || scrolls(part.parentElement));
  const isOut = (part) => part.offsetParent && part.getBoundingClientRect().right > innerWidth + 1;
  const isSeen = (part) => !part.closest('[aria-hidden=true]') && !scrolls(part.parentElement);
  const parts = [...document.querySelectorAll('main *')].filter((part) => isOut(part) && isSeen(part));
  if (page.scrollWidth > innerWidth) parts.push(page);
  return parts.map((part) => part.outerHTML.slice(0, 120));
}"""
# Left pages and players that seek break off what they were reading: no fault of the page.
BROKEN_OFF = "net::ERR_ABORTED"
# What a player shows of a running job leaves with the next window or the end of the job, maybe just as the
# player asks for it; the next look at the queue brings what has taken its place.
FLEETING = "/so_far_"
# The browser repeats below what is told with its address by the answer itself.
REPEATED = "Failed to load resource"


class Film(NamedTuple):
    """What the browser's own player says of a video that it has begun to play."""

    seconds: float
    ready: int
    played: float
    width: int


class Place(NamedTuple):
    """Where the live strip says that a job is: its window counted from 1, and how long its bar is."""

    job: int
    window: int
    percent: float


class Person:
    """A visitor with one tab open. `faults`: everything that the browser reported as an error."""

    def __init__(self, page: "Page", studio: Studio, faults: list[str]) -> None:
        self.page, self.studio, self.faults = page, studio, faults
        self._leaves = False
        page.on("console", lambda said: self._note(_complaint(said)))
        page.on("pageerror", lambda error: self._note([f"script: {error}"]))
        page.on("requestfailed", lambda request: self._note(_unanswered(request)))
        page.on("response", lambda answer: self._note(_refused(answer)))

    def _note(self, faults: list[str]) -> None:
        """A page that is left complains of the answers that it will not get any more."""
        if not self._leaves:
            self.faults.extend(faults)

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        self._leaves = True
        yield
        self._leaves = False

    def open(self) -> "Person":
        """The page, ready to be used: the form, the forecast and the first look at the queue are there."""
        with self._leaving():
            self.page.goto(self.studio.address, wait_until="commit")
        self.ready()
        return self

    def ready(self) -> None:
        """Wait until the page that was just loaded can be used."""
        self.page.locator("#forecast p").first.wait_for()
        self.page.locator("#live .live[data-ended]").wait_for()
        self.page.wait_for_function(HELD_TASK)

    def switch_language(self, name: str) -> None:
        """Click a language in the head; the page is fetched anew."""
        with self._leaving(), self.page.expect_navigation(wait_until="commit"):
            self.page.locator(f"#head [data-language={name}]").click()
        self.page.locator(f"html[lang={name}]").wait_for()
        self.ready()

    def second_tab(self) -> "Person":
        """The same visitor in another tab."""
        return Person(self.page.context.new_page(), self.studio, self.faults).open()

    def tab(self, number: int) -> None:
        """Show one of the page's tabs; a narrow window has the last ones in a menu."""
        tabs = self.page.locator("#tabs [role=tab]")
        in_sight = tabs.count()
        if number < in_sight:
            tabs.nth(number).click()
            return
        self.page.locator("#tabs .overflow-menu > button").click()
        self.page.locator("#tabs .overflow-dropdown button").nth(number - in_sight).click()

    def task(self, number: int) -> None:
        """Choose what to make; its form comes from the server."""
        held = self.page.evaluate(HELD_TASK)
        self.page.locator(".segments label").nth(number).click()
        self.page.wait_for_function(f"before => {HELD_TASK} !== before", arg=held)

    def example(self, number: int = 0) -> None:
        """Click one of the bundled pictures; its speech and prompt come with it."""
        self.page.locator("#examples button").nth(number).click()
        self.foresees(" frames ")

    def upload(self, picture: Path) -> None:
        """Give the form's first picture."""
        self.page.locator("input[type=file][accept^=image]").first.set_input_files(picture)

    def field(self, label: str) -> "Locator":
        """The input below that label. The sampling fields are not there before they are unfolded."""
        title = self.page.locator("[data-testid=block-info]", has_text=re.compile(rf"^\s*{label}\s*$"))
        block = self.page.locator(".block").filter(has=title).last
        if not block.count():
            self.page.get_by_role("button", name="Sampling").click()
        return block.locator("textarea, input:not([type=checkbox])").first

    def fill(self, label: str, value: object) -> None:
        """Type into a field and leave it."""
        field = self.field(label)
        field.fill(str(value))
        field.blur()

    def reads(self, label: str) -> str:
        """What stands in a field."""
        return self.field(label).input_value()

    def choose_model(self, name: str) -> None:
        """By hand, as the bundled model would be the automatic choice."""
        self.tab(MODELS)
        self.choose("#model", name)
        self.tab(GENERATION)

    def choose(self, widget: str, ending: str) -> None:
        """An entry of a list, by the end of its words."""
        self.page.locator(f"{widget} input").click()
        self.page.locator(f"[role=option][aria-label$='{ending}']").click()

    def foresees(self, words: str) -> None:
        """The forecast below the button holds these words."""
        self.page.locator("#forecast", has_text=words).wait_for()

    def generate(self, press: str = "") -> int:
        """Click the button, or press keys for it; returns the number of the job that this queues."""
        before = max(self.numbers(), default=0)
        if press:
            self.page.keyboard.press(press)
        else:
            self.page.locator("#generate").click()
        self.page.wait_for_function(f"known => {NUMBERS}.some(n => n > known)", arg=before)
        return max(self.numbers())

    def numbers(self) -> list[int]:
        """The jobs of the queue from top to bottom."""
        return list(map(int, self.page.evaluate(NUMBERS)))

    def row(self, number: int) -> "Locator":
        """A job's row of the queue."""
        title = self.page.locator("b", has_text=re.compile(rf"^#{number}\b"))
        return self.page.locator("#queue li").filter(has=title)

    def order(self, number: int, action: str) -> None:
        """Click a button in a job's row."""
        self.row(number).locator(f"[data-action={action}]").click()

    def sees(self, number: int, state: str) -> None:
        """Wait until the job's row tells that state."""
        self.row(number).locator(f".state.{state}").wait_for(timeout=MAKING_MS)

    def is_at(self) -> Place:
        """Where the live strip says that the running job is."""
        html = self.page.locator("#live").inner_html()
        found = [re.search(pattern, html) for pattern in (r"#(\d+) ", r"Window (\d+)", r"width: ?([\d.]+)%")]
        assert all(found), html
        job, window, percent = (float(match[1]) for match in found if match)
        return Place(job=int(job), window=int(window), percent=percent)

    def reaches(self, words: str) -> None:
        """Wait until the live strip holds these words."""
        self.page.locator("#live", has_text=words).wait_for(timeout=MAKING_MS)

    def plays(self, player: str = "#video") -> Film:
        """Play the beginning of the shown video."""
        video = self.page.locator(f"{player} video")
        video.wait_for()
        self.page.wait_for_function("video => video.readyState >= 3", arg=video.element_handle())
        return Film(*video.evaluate(PLAY))

    def spills_over(self) -> list[str]:
        """What reaches beyond the window's right edge, or makes the page wider than it."""
        return list(self.page.evaluate(SPILLS))


def _complaint(said: "ConsoleMessage") -> list[str]:
    is_fault = said.type == "error" and not said.text.startswith(REPEATED)
    return [f"console: {said.text}"] if is_fault else []


def _unanswered(request: "Request") -> list[str]:
    return [] if request.failure == BROKEN_OFF else [f"{request.failure}: {request.url}"]


def _refused(answer: "Response") -> list[str]:
    is_fault = answer.status >= 400 and FLEETING not in answer.url
    return [f"{answer.status}: {answer.url}"] if is_fault else []
