"""The drawing of the speech: its peaks, the planner's windows, the axis."""

import re
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import soundfile

from tests.media.media_files import write_sound
from tests.plan_cases import DUET, PAIR, SPEECH, SPOKEN, TEXT, plan, sound
from tests.ui.test_fields import CPU, start_values
from ui.forecast import show_forecast
from ui.page import place_parts
from ui.waveform import HIGH, MOST_MARKS, WIDE, waveform
from wanvideo.errors import UserError
from wanvideo.inputs import InputFacts
from wanvideo.jobs.store import JobStore
from wanvideo.media import peaks
from wanvideo.media.peaks import COLUMNS, sound_peaks


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds: loud in the first, half as loud in the third, else silent."""
    samples = np.zeros(4 * 16_000, np.float32)
    wave = np.sin(np.arange(16_000) / 8)
    samples[:16_000], samples[32_000:48_000] = 0.8 * wave, 0.4 * wave
    path = tmp_path_factory.mktemp("sound <b>") / "my 'secret' name.wav"
    soundfile.write(path, samples, 16_000)
    return path


def heights(html: str) -> list[float]:
    """Half the height of the drawn voice along its time."""
    path = re.findall(r"class='voice' d='M([^']*)Z'", html)[0]
    ys = [float(point.split()[1]) for point in path.split("L")]
    return [HIGH / 2 - y for y in ys[: len(ys) // 2]]


def test_peaks_follow_the_sound(speech: Path) -> None:
    found = np.array(sound_peaks(speech))
    assert len(found) == COLUMNS and found.max() <= 1
    first, second, third, _ = found.reshape(4, -1)
    assert (
        first[2:-2].min() > 0.7
        and second[2:-2].max() < 0.01
        and third[2:-2].max() == pytest.approx(0.4, abs=0.03)
    )


def test_a_file_is_decoded_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound(tmp_path / "a.wav", 0.4)
    runs: list[int] = []
    run = peaks.run_ffmpeg
    monkeypatch.setattr(peaks, "run_ffmpeg", lambda *a, **k: (runs.append(1), run(*a, **k))[1])
    assert sound_peaks(path) is sound_peaks(path) and len(runs) == 1
    write_sound(path, 0.5)
    sound_peaks(path)
    assert len(runs) == 2


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.mp4"])
def test_every_kind_of_sound_is_drawn(tmp_path: Path, name: str) -> None:
    assert max(sound_peaks(write_sound(tmp_path / name, 0.5))) == pytest.approx(0.5, abs=0.1)


def test_the_windows_are_those_of_the_plan(speech: Path) -> None:
    made = plan(SPEECH, SPOKEN)
    html = waveform({"audio": [str(speech)]}, made)
    ends = list(accumulate(window.keep / 25 for window in made.windows))
    assert len(ends) > 1
    borders = [float(x) for x in re.findall(r"class='border' d='M([\d.]+) ", html)]
    assert borders == pytest.approx([WIDE * end / 4.0 for end in ends[:-1]], abs=0.1)
    assert re.findall(r"<i [^>]*>(\d+)</i>", html) == [str(n + 1) for n in range(len(ends))]
    assert "secret" not in html and str(speech.parent) not in html
    loud, quiet = heights(html)[10], heights(html)[100]
    assert loud > 20 and quiet < 1, "the loudest fills the row"


def test_what_the_video_leaves_out_is_greyed(speech: Path) -> None:
    def greyed(request: dict[str, object]) -> list[list[float]]:
        html = waveform({"audio": [str(speech)]}, plan({**SPEECH, **request}, SPOKEN))
        found = re.findall(r"class='unused' x='([\d.]+)' width='([\d.]+)'", html)
        return [[float(number) / WIDE * 4 for number in pair] for pair in found]

    assert greyed({}) == []
    assert greyed({"seconds": 3}) == [pytest.approx([3, 1], abs=0.01)]
    assert greyed({"seconds": 1, "audio_start": 2}) == [
        pytest.approx([0, 2], abs=0.01),
        pytest.approx([3, 1], abs=0.01),
    ]


def test_a_video_longer_than_the_speech_has_room_on_the_axis(speech: Path) -> None:
    html = waveform({"audio": [str(speech)]}, plan({**SPEECH, "seconds": 8}, SPOKEN))
    last = max(float(x) for x in re.findall(r"[ML]([\d.]+) [\d.]+(?=[LZ])", html))
    assert last == pytest.approx(WIDE / 2, abs=2)
    marks = [float(left) for left in re.findall(r"<span class='\w*' style='left:([\d.]+)%'", html)]
    assert 3 <= len(marks) <= MOST_MARKS + 1 and marks[0] == 0 and marks[-1] <= 100


@pytest.mark.parametrize(("order", "second"), [("together", 0.0), ("sequence", 0.5)])
def test_two_speakers_have_a_row_each(speech: Path, order: str, second: float) -> None:
    facts: InputFacts = replace(DUET, sounds=(sound(4.0), sound(4.0)))
    made = plan({**PAIR, "audio_order": order}, facts)
    html = waveform({"audio": [str(speech)] * 2, "audio_order": order}, made)
    begins = [float(x) / WIDE for x in re.findall(r"class='voice' d='M([\d.]+) ", html)]
    assert len(begins) == 2 and begins[1] - begins[0] == pytest.approx(second, abs=0.01)
    assert html.count("<i ") == len(made.windows)


def test_nothing_is_drawn_without_speech_or_for_a_file_that_is_none(tmp_path: Path, speech: Path) -> None:
    assert waveform({}, None) == "" == waveform({"audio": []}, plan(TEXT))
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound at all")
    assert waveform({"audio": [str(bad)]}, None) == ""
    with pytest.raises(UserError):
        sound_peaks(bad)
    alone = waveform({"audio": [str(speech)]}, None)
    assert "class='voice'" in alone and "class='border'" not in alone and "unused" not in alone


def test_the_forecast_brings_it(tmp_path: Path, speech: Path) -> None:
    with gr.Blocks():
        page = place_parts(JobStore(tmp_path / "queue.sqlite"), {"output_dir": str(tmp_path)}, CPU)
    values = start_values(page.form)
    assert show_forecast(page, values)[page.generation.waveform] == ""
    heard = {**values, page.form.widgets["audio"][0]: str(speech)}
    assert "class='voice'" in show_forecast(page, heard)[page.generation.waveform]
    silent = {**heard, page.form["task"]: "text_to_video", page.form["prompt"]: "a ball"}
    assert show_forecast(page, silent)[page.generation.waveform] == ""
