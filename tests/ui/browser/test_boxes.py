"""Two boxes drawn on the bundled pair, by mouse, keys and hand, and what becomes of them."""

from collections.abc import Sequence

import pytest
from PIL import Image

from tests.ui.browser.conftest import Visit
from tests.ui.browser.person import IMAGE, Person
from tests.ui.browser.studio import Studio
from tests.ui.running_page import ROOT
from wanvideo.geometry import speaker_halves

pytestmark = pytest.mark.browser
PAIR, SIDE = -1, 512  # the last example, and its width and height in pixels
LEFT, RIGHT = (64, 96, 224, 320), (304, 96, 464, 320)
HALF = speaker_halves(SIDE, SIDE)[0]
NEAR = 3  # pixels of the picture: one of the screen, and rounding


class Drawing:
    """The picture with the boxes, in pixels of the picture."""

    def __init__(self, person: Person) -> None:
        self.person, self.page = person, person.page
        self.person.example(PAIR)
        self.svg = self.page.locator("#boxes svg")
        self.reads("boxes", "Nothing is drawn")

    def reads(self, card: str, words: str) -> None:
        self.page.locator(f"#{card}", has_text=words).wait_for()

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        self.svg.scroll_into_view_if_needed()
        place = self.svg.bounding_box()
        assert place is not None
        return place["x"] + x * place["width"] / SIDE, place["y"] + y * place["height"] / SIDE

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self.point(*start))
        mouse.down()
        mouse.move(*self.point(*end), steps=4)
        mouse.up()

    def draw(self, box: Sequence[int]) -> None:
        self.drag((box[0], box[1]), (box[2], box[3]))

    def press(self, name: str) -> None:
        self.page.locator(f"#boxes [data-do={name}]").click()

    def boxes(self) -> list[list[float]]:
        """The text field, read."""
        text = self.page.locator("#speaker-boxes").locator("textarea, input").input_value()
        return [list(map(float, box.split(","))) for box in text.split("; ") if box]

    def answered(self) -> None:
        """The server has looked at the newest text."""
        self.page.wait_for_timeout(600)


@pytest.fixture
def drawing(tiny: Person) -> Drawing:
    return Drawing(tiny)


def near(*boxes: Sequence[int]) -> list[object]:
    return [pytest.approx(box, abs=NEAR) for box in boxes]


def test_two_drawn_boxes_are_in_the_field_and_in_the_job(drawing: Drawing, tiny_studio: Studio) -> None:
    drawing.draw(RIGHT)
    assert drawing.boxes() == near(RIGHT, HALF), "who has none gets the half that is free"
    drawing.draw(LEFT)
    assert drawing.boxes() == near(RIGHT, LEFT), "the second drag is for the second speaker"
    drawing.answered()
    assert drawing.boxes() == near(RIGHT, LEFT)
    drawing.press("swap")
    assert drawing.boxes() == near(LEFT, RIGHT)
    drawing.answered()
    number = drawing.person.generate()
    job = tiny_studio.store.get(number)
    assert job is not None and [list(box) for box in job.request["speaker_boxes"]] == drawing.boxes()


def test_a_box_is_moved_resized_and_cleared(drawing: Drawing) -> None:
    drawing.draw(LEFT)
    drawing.draw(RIGHT)
    drawing.drag((144, 200), (164, 210))
    moved = [LEFT[0] + 20, LEFT[1] + 10, LEFT[2] + 20, LEFT[3] + 10]
    assert drawing.boxes() == near(moved, RIGHT)
    drawing.drag((RIGHT[2], RIGHT[3]), (500, 400))
    assert drawing.boxes() == near(moved, [*RIGHT[:2], 500, 400])
    drawing.answered()
    box = drawing.page.locator("#boxes [data-box='0']")
    box.focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown"):
        drawing.page.keyboard.press(key)
    drawing.answered()
    moved = [moved[0] + 10, moved[1], moved[2] + 10, moved[3] + 5]
    assert drawing.boxes() == near(moved, [*RIGHT[:2], 500, 400])
    assert box.evaluate("box => box === document.activeElement"), "keys can go on"
    assert "Speaker 1, hello.wav" in (box.get_attribute("aria-label") or "")
    drawing.press("clear")
    drawing.reads("boxes", "Nothing is drawn")
    assert not drawing.boxes()


def test_the_field_moves_the_boxes_and_a_new_picture_clears_them(drawing: Drawing) -> None:
    field = drawing.page.locator("#speaker-boxes").locator("textarea, input")
    field.fill("64,96,224,320; 200,96,464,320")
    drawing.reads("boxes", "boxes overlap")
    rectangle = drawing.page.locator("#boxes [data-box='1'] rect")
    assert rectangle.get_attribute("x") == "200"
    drawing.person.page.locator("button[aria-label^=Clear], button[aria-label^=Remove]").first.click()
    drawing.reads("boxes", "Add a picture")
    assert not drawing.boxes()


def test_what_the_model_sees_is_shown(drawing: Drawing) -> None:
    drawing.person.fill("Width", 64)
    drawing.person.fill("Height", 128)
    drawing.person.foresees("64 × 128")
    drawing.draw((150, 96, 240, 320))
    drawing.draw((270, 96, 360, 320))
    drawing.answered()
    cells = drawing.page.locator("#boxes .cells path")
    assert [path.get_attribute("d") for path in cells.all()] == [""] * 3
    drawing.press("see")
    assert drawing.svg.get_attribute("viewBox") == "128 0 256 512"
    counts = [(path.get_attribute("d") or "").count("z") for path in cells.all()]
    assert counts[0] > 0 and counts[1] > 0 and counts[2] == 0
    drawing.press("see")
    assert drawing.svg.get_attribute("viewBox") == "0 0 512 512"


def test_fingers_draw_on_a_phone(visit: Visit, tiny_studio: Studio) -> None:
    phone = Drawing(visit(tiny_studio, viewport={"width": 390, "height": 800}, has_touch=True))
    assert not phone.person.spills_over()
    session = phone.page.context.new_cdp_session(phone.page)
    for kind, place in (("Start", (64, 96)), ("Move", (150, 200)), ("Move", (224, 320)), ("End", None)):
        points = [dict(zip("xy", phone.point(*place), strict=True))] if place else []
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert phone.boxes()[:1] == near(LEFT)


def test_another_task_has_no_boxes(drawing: Drawing) -> None:
    drawing.draw(LEFT)
    drawing.person.task(IMAGE)
    assert not drawing.svg.is_visible()


def test_the_bundled_pair_is_what_this_file_says() -> None:
    assert Image.open(ROOT / "examples" / "pair.png").size == (SIDE, SIDE)
