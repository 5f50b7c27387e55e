"""What the card of the speakers' boxes shows, held against the masks that the transformer is given."""

import os
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image

from tests.ui.test_fields import start_values
from ui import texts
from ui.box_events import clear_boxes, planned_size, show_boxes
from ui.boxes import Source, boxes_html, boxes_state, load_source, read_boxes, seen_rows
from ui.fields import shown_values
from ui.generation import EXAMPLES
from ui.language import speaking
from ui.parts import Page
from wanvideo.geometry import speaker_halves, visible_part
from wanvideo.window_tensors import latent_masks, speaker_masks, token_masks

PAIR = str(EXAMPLES / "pair.png")
VOICES = [str(EXAMPLES / "hello.wav"), str(EXAMPLES / "answer.wav")]
DRAWN = "60,80,220,300; 300,90,470,320"
WIDE = Source(height=500, width=1000, preview=b"")
CROPPED = (512, 256)  # shows columns 375 to 625 of WIDE
CASES = [
    ((512, 512), (640, 640), [(60, 80, 220, 300), (300, 90, 470, 320)]),
    ((500, 1000), CROPPED, [(380, 100, 500, 400), (450, 50, 900, 300)]),
    ((333, 217), (96, 64), [(0, 0, 217, 333), (10.7, 20.2, 60.9, 90.5)]),
    ((90, 60), (208, 48), []),
]


@pytest.fixture
def values(page: Page) -> dict[Any, Any]:
    """Two recordings and a picture."""
    form = page.form
    speech = dict(zip(form.widgets["audio"], VOICES, strict=True))
    return start_values(form) | speech | {form["image"]: PAIR}


@pytest.mark.parametrize(("source", "target", "boxes"), CASES)
def test_the_cells_are_the_tokens_of_the_engine(
    source: tuple[int, int], target: tuple[int, int], boxes: list[tuple[float, float, float, float]]
) -> None:
    masks = token_masks(latent_masks(speaker_masks(boxes, *source), *target))
    grid = seen_rows(boxes or speaker_halves(*source), source, target)
    digits = torch.tensor([[int(digit) for digit in row] for row in grid])
    assert digits.shape == (target[0] // 16, target[1] // 16)
    for mask, is_there in zip(masks, (digits & 1, digits & 2, digits == 0), strict=True):
        assert torch.equal(mask.bool(), is_there.bool().flatten())


def test_the_crop_is_that_of_the_video() -> None:
    state = boxes_state("", WIDE, CROPPED, ["a.wav", "b.wav"])
    rows, columns = visible_part(WIDE.size, CROPPED)
    assert state["crop"] == [columns.start, rows.start, len(columns), len(rows)] == [375, 0, 250, 500]
    assert state["size"] == [1000, 500] and state["voices"] == ["a.wav", "b.wav"]


def test_without_boxes_the_halves_are_shown() -> None:
    state = boxes_state("", WIDE, None, VOICES)
    assert state["boxes"] == speaker_halves(500, 1000)
    assert state["notes"] == [texts.say("boxes_halves")] and "grid" not in state


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4", "9,0,1,1; 0,0,1,1", "a,b,c,d; 0,0,1,1"])
def test_a_half_typed_text_leaves_the_boxes_where_they_are(text: str) -> None:
    assert read_boxes(text) is None
    state = boxes_state(text, WIDE, CROPPED, VOICES)
    assert state["boxes"] is None and not state["notes"] and state["text"] == text


def test_boxes_are_read_as_they_are_written() -> None:
    boxes = read_boxes(DRAWN)
    assert boxes == ((60, 80, 220, 300), (300, 90, 470, 320))
    assert shown_values("speaker_boxes", boxes) == [DRAWN]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("380,100,480,300; 500,100,620,300", []),
        ("380,100,520,300; 500,100,620,300", ["overlap"]),
        ("300,100,480,300; 500,100,620,300", ["outside"]),
        ("380,100,400,120; 500,100,620,300", ["cells"]),
        ("0,100,200,300; 500,100,620,300", ["cells", "outside"]),
    ],
)
def test_doubtful_boxes_are_told_in_the_visitor_s_language(text: str, said: list[str]) -> None:
    notes = boxes_state(text, WIDE, CROPPED, VOICES)["notes"]
    assert len(notes) == len(said)
    assert all(word in note and note[0].isupper() for word, note in zip(said, notes, strict=True))
    with speaking("zh"):
        spoken = boxes_state(text, WIDE, CROPPED, VOICES)["notes"]
    assert len(spoken) == len(said) and not set("abcdefghijklmnopqrstuvwxyz") & set("".join(spoken))


def test_a_source_is_the_picture_as_it_is_seen(tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert load_source(str(tmp_path / "turned.jpg"), is_video=False).size == (40, 20)
    for mode, colour, seen in (("RGBA", (0, 0, 0, 0), 255), ("I;16", 128 << 8, 128), ("LA", (9, 255), 9)):
        Image.new(mode, (1700, 300), colour).save(tmp_path / f"{mode[0]}{mode[-1]}.png")
        source = load_source(str(tmp_path / f"{mode[0]}{mode[-1]}.png"), is_video=False)
        shown = Image.open(BytesIO(source.preview))
        assert source.size == (300, 1700) and shown.width == 800
        assert shown.getpixel((5, 5)) == pytest.approx((seen,) * 3, abs=2)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    for number, side in enumerate((20, 30)):
        Image.new("RGB", (side, side)).save(file)
        os.utime(file, (number + 1, number + 1))
        assert load_source(str(file), is_video=False).width == side


def test_the_card_holds_the_picture_and_a_box_for_each_speaker() -> None:
    source = load_source(PAIR, is_video=False)
    html = boxes_html(source)
    data = html.partition("base64,")[2].partition("'")[0]
    assert Image.open(BytesIO(b64decode(data))).size == (512, 512)
    for number in (1, 2):
        assert texts.say("boxes_speaker", number=number) in html and f"data-box='{number - 1}'" in html
    assert texts.say("boxes_no_picture") in boxes_html(None)
    assert "&lt;b&gt;" in boxes_html(None, "<b>.png is no picture")


def test_the_picture_is_sent_once(page: Page, values: dict[Any, Any]) -> None:
    shown, text = gr.State(), page.form["speaker_boxes"]
    first = show_boxes(page, shown, values | {shown: None})
    card = first[page.generation.boxes]
    assert card["state"]["voices"] == ["hello.wav", "answer.wav"] and "<svg" in card["value"]
    assert card["state"]["grid"] and card["state"]["notes"] == [texts.say("boxes_halves")]
    again = show_boxes(page, shown, values | {shown: first[shown], text: DRAWN})[page.generation.boxes]
    assert "value" not in again and again["state"]["boxes"] == read_boxes(DRAWN)


def test_one_speaker_has_no_card(page: Page, values: dict[Any, Any]) -> None:
    shown = gr.State()
    alone = values | {page.form.widgets["audio"][1]: None, shown: None}
    assert show_boxes(page, shown, alone) == {shown: None}


def test_a_picture_that_cannot_be_read_is_told(page: Page, values: dict[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("text")
    shown = gr.State()
    update = show_boxes(page, shown, values | {page.form["image"]: str(tmp_path / "no.png"), shown: None})
    assert "no.png" in update[page.generation.boxes]["value"] and update[shown] is None


def test_boxes_that_are_refused_still_have_their_cells(page: Page, values: dict[Any, Any]) -> None:
    shown, text = gr.State(), page.form["speaker_boxes"]
    refused = values | {text: "0,0,3,3; 300,90,470,320", shown: None}
    state = show_boxes(page, shown, refused)[page.generation.boxes]["state"]
    assert state["grid"] and any("1" in note for note in state["notes"])
    assert planned_size(page, {"task": "talk", "width": 17}) is None


def test_boxes_of_another_picture_are_cleared_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "value" not in clear_boxes("") and not capsys.readouterr().out
    assert clear_boxes(DRAWN) == ""
    assert texts.say("boxes_cleared") in capsys.readouterr().out, "what gradio makes of a toast by itself"
