"""Held-out measuring: missed limits are told, finished tasks are not repeated, measures see faults."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tools.pocket import sheets
from tools.pocket.dataset import make_clips
from tools.pocket.heldout import __main__ as command
from tools.pocket.heldout import tasks
from tools.pocket.heldout.autoencoder import through
from tools.pocket.heldout.bench import Bench, keep, make, run_identity
from tools.pocket.heldout.judging import Judged, noted
from tools.pocket.heldout.pairs import silent_share
from tools.pocket.heldout.report import BEGIN, END, chosen, summary, table, write_page
from tools.pocket.heldout.results import Figure, Result, ShownClip, Track, load_result, mean, save_result
from tools.pocket.heldout.talking import openness, speak_all, sync_figures, sync_of
from tools.pocket.heldout.tasks import Task, runnable
from tools.pocket.heldout.windows import MOTION_FRAMES, SEAMS, TOTAL, WINDOWS, window_drift
from tools.pocket.measure import background_error, colour_distances, seam_jumps
from tools.pocket.named import Agreement
from tools.pocket.sheets import SheetRow, draw_sheet, save_rows
from tools.pocket.training_run import psnr
from wanvideo.model_cache import ModelCache
from wanvideo.windows import plan_windows

PAGE = f"# Title\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(folder=tmp_path / "run", clips=4, voices=None, human=False, cache=ModelCache())


def result(value: float | None = 0.5, shown: tuple[ShownClip, ...] = ()) -> Result:
    return Result(figures=(Figure(what="share", value=value, at_least=0.75),), shown=shown)


def clip(frames: int = 40, size: int = 24) -> Tensor:
    """Grey that changes by the same small step each frame."""
    return (torch.arange(frames) * 0.02 - 0.5).view(1, -1, 1, 1).expand(3, -1, size, size).clone()


def test_a_limit_is_met_missed_or_absent() -> None:
    assert Figure(what="", value=0.75, at_least=0.75).met is True
    assert Figure(what="", value=0.749, at_least=0.75).met is False
    assert Figure(what="", value=0.21, at_most=0.2).met is False
    assert Figure(what="", value=-0.5, at_most=0.2).met is True
    assert Figure(what="", value=None, at_most=0.2).met is False
    assert Figure(what="", value=0.2).met is None
    assert mean([None, 1.0, 2.0]) == 1.5
    assert mean([None]) is None


def test_results_come_back_for_the_same_weights_alone(tmp_path: Path) -> None:
    track = Track(true=(0.0, 1.0), seen=(0.1, 0.2))
    shown = ShownClip(file="a.mp4", caption="text", note="n", target="b.png", tracks=(track,), marks=(3,))
    kept = result(None, (shown,))
    save_result(tmp_path / "task.json", kept, "weights one")
    assert load_result(tmp_path / "task.json", "weights one") == kept
    assert load_result(tmp_path / "task.json", "weights two") is None
    assert load_result(tmp_path / "other.json", "weights one") is None


def test_a_stopped_run_goes_on_with_what_is_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def task(name: str, *, stops: bool = False) -> Task:
        def measure(_: Bench) -> Result:
            measured.append(name)
            if stops and measured.count(name) == 1:
                raise KeyboardInterrupt
            return result()

        return Task(title=name, explanation="", measure=measure)

    table_of_two = {"one": task("one"), "two": task("two", stops=True)}
    monkeypatch.setattr(command, "TASKS", table_of_two)
    monkeypatch.setattr(tasks, "TASKS", table_of_two)
    with pytest.raises(KeyboardInterrupt):
        command.run(bench, ["one", "two"])
    assert set(command.run(bench, ["one", "two"])) == {"one", "two"}
    assert measured == ["one", "two", "two"]
    command.run(replace(bench, clips=5), ["one"])
    assert measured == ["one", "two", "two", "one"]


def test_what_a_run_needs_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tasks, "JUDGE", tmp_path / "judge.safetensors")
    with pytest.raises(FileNotFoundError, match="judge"):
        runnable(["text"], human=False)
    assert runnable(["humans", "voices"], human=False) == ["voices"]


def test_identity_follows_clips_and_people(bench: Bench) -> None:
    others = (replace(bench, clips=5), replace(bench, human=True))
    assert run_identity(bench) == run_identity(replace(bench, folder=Path("elsewhere")))
    assert run_identity(bench) not in {run_identity(other) for other in others}


def test_table_tells_what_was_missed_and_what_was_not_measured() -> None:
    text = table({"voices": result(0.5), "pairs": result(None), "text": result(0.8)})
    rows = [line for line in text.splitlines() if "share" in line]
    assert [row.rstrip(" |").rpartition("| ")[2] for row in rows] == ["**missed**", "**not measured**", "met"]
    assert "0.500" in rows[0] and "at least 0.75" in rows[0]
    assert "| **Autoencoder** | not measured |" in text
    assert summary({"voices": result(0.5), "text": result(0.8)}) == "1 of 2 limits are met."


def test_page_gets_table_and_sheets_between_its_markers(bench: Bench, tmp_path: Path) -> None:
    video = make_clips("shapes", 1, frames=9, size=48, generator=torch.Generator().manual_seed(1)).video[0]
    name = keep(bench, "text/0.mp4", video)
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(PAGE, encoding="utf-8")
    for head in ("first head", "second head"):
        write_page(
            page, bench.folder, {"text": result(shown=(ShownClip(file=name, caption="a ball"),))}, head
        )
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nbefore\n") and text.endswith("\n\nafter\n")
    assert "second head" in text and "first head" not in text and "old" not in text
    assert "(images/pocket_text.jpg)" in text and "pocket_voices" not in text
    with Image.open(page.parent / "images/pocket_text.jpg") as sheet:
        assert sheet.format == "JPEG" and sheet.width > 900
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="heldout: begin"):
        write_page(page, bench.folder, {}, "head")


def test_sheets_show_curves_and_targets_within_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.rand(3, 12, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = SheetRow(caption="a word " * 60, video=noise, note="lip-sync 0.80")
    curve = (torch.linspace(0, 1, 12), torch.linspace(1, 0, 12))
    full = replace(plain, target=noise[:, 0], curves=(curve, curve), marks=(6,))
    assert draw_sheet([full], 96).width > draw_sheet([plain], 96).width
    assert draw_sheet([full], 96).height > draw_sheet([plain], 96).height
    red, blue = ((214, 51, 108), (28, 126, 214))
    colours = {colour for _, colour in draw_sheet([full], 96).getcolors(1 << 24) or []}
    assert {red, blue} <= colours
    save_rows(tmp_path / "sheet.jpg", [plain] * 2)
    best = (tmp_path / "sheet.jpg").stat().st_size
    monkeypatch.setattr(sheets, "LIMIT_BYTES", best - 1)
    save_rows(tmp_path / "sheet.jpg", [plain] * 2)
    assert (tmp_path / "sheet.jpg").stat().st_size < best
    monkeypatch.setattr(sheets, "LIMIT_BYTES", best // 100)
    with pytest.raises(ValueError, match="too many"):
        save_rows(tmp_path / "sheet.jpg", [plain] * 2)


def test_shown_rows_lie_at_even_distances() -> None:
    rows = tuple(ShownClip(file=str(index), caption="") for index in range(16))
    assert [int(row.file) for row in chosen(rows, 4)] == [0, 5, 10, 15]
    assert chosen(rows[:3], 4) == list(rows[:3])


def test_seams_are_where_the_application_joins_windows() -> None:
    windows = plan_windows(TOTAL, 33, MOTION_FRAMES)
    assert len(windows) == WINDOWS
    assert [window.start + window.skip for window in windows[1:]] == SEAMS
    assert windows[-1].start + windows[-1].frames == TOTAL


def test_a_jump_at_a_seam_is_seen() -> None:
    video = clip()
    assert seam_jumps(video, [20]).tolist() == pytest.approx([1.0], abs=1e-3)
    video[:, 20:] += 0.06
    assert seam_jumps(video, [20]).tolist() == pytest.approx([4.0], abs=1e-2)
    assert seam_jumps(torch.zeros(3, 40, 8, 8), [20]).tolist() == [0.0]


def test_colours_that_drift_are_seen() -> None:
    reference = torch.zeros(3, 8, 8)
    video = torch.zeros(3, TOTAL, 8, 8)
    video[0, SEAMS[-1] :] = 0.6
    assert colour_distances(video, reference)[-1] == pytest.approx(0.1)
    assert window_drift(video, reference).tolist() == pytest.approx([0.0, 0.0, 0.0, 0.1])


def test_background_is_what_stays_still_in_the_corners() -> None:
    reference, drawn = torch.zeros(3, 24, 24), torch.zeros(3, 4, 24, 24)
    drawn[:, 2, :, :12] = 1.0
    made = drawn.clone()
    assert background_error(made, reference, drawn) == 0.0
    made[:, :, :4, -2:] = 0.2
    assert 0.0 < (background_error(made, reference, drawn) or 0.0) < 0.1
    drawn[:, 1] = 1.0
    assert background_error(made, reference, drawn) is None


def test_pairs_are_told_apart_by_their_own_sound() -> None:
    clips = make_clips("pair", 8, frames=33, size=96, generator=torch.Generator().manual_seed(2))
    assert clips.mouth_boxes is not None
    tracks, boxes = openness(clips), clips.mouth_boxes
    own = [sync_of(clips.video[i], boxes[i, side], tracks[i, side]) for i in range(8) for side in range(2)]
    shares = [silent_share(clips.video[i], boxes[i], tracks[i]) for i in range(8)]
    assert (mean(own) or 0.0) > 0.8
    assert None in shares, "a clip in which both speak has no silent mouth"
    assert (mean(shares) or 1.0) < 0.2
    assert sync_of(clips.video[0], boxes[0, 0], torch.zeros(33)) is None


def test_judged_shares_leave_out_what_no_caption_promises() -> None:
    rows = (
        Agreement(subject=True, kin=True, colour=None, motion=True),
        Agreement(subject=True, kin=True, colour=False, motion=None),
        Agreement(subject=False, kin=True, colour=True, motion=False),
        Agreement(subject=True, kin=True, colour=True, motion=True),
    )
    judged = Judged(rows=rows)
    assert judged.share("subject") == 0.75
    assert judged.share("colour") == pytest.approx(2 / 3)
    assert judged.share_of_all(("subject", "colour")) == 0.5
    assert Judged(rows=rows[1:2]).share("motion") is None
    assert noted("a.mp4", "a ball", rows[1]).note == "right: subject; wrong: colour"


def test_the_application_makes_clips_and_replaces_those_of_an_older_run(bench: Bench) -> None:
    asked = {"task": "text_to_video", "prompt": "a ball", "seed": 1, "num_inference_steps": 1}
    asked |= {"num_frames": 5, "width": 64, "height": 64}
    first, again = (make(bench, "text/0.mp4", asked) for _ in range(2))
    assert first.video.shape == (3, 5, 64, 64)
    assert torch.equal(first.video, again.video)
    assert [path.name for path in (bench.folder / "text").iterdir()] == ["0.mp4"]
    video = bench.draw("shapes", 1, frames=5, size=64).video[0]
    assert psnr(through(bench, video)[None], video[None]) > 20


def test_a_speaker_is_made_and_measured(bench: Bench) -> None:
    clips = bench.draw("talk", 2, frames=9, size=64)
    asked = {"num_inference_steps": 1, "window_frames": 9, "width": 64, "height": 64, "motion_frames": 1}
    spoken = speak_all(bench, "voices", clips, asked)
    assert [tuple(item.made.video.shape) for item in spoken] == [(3, 9, 64, 64)] * 2
    assert all(item.colour < 0.05 for item in spoken)
    assert all(len(item.shown.tracks[0].seen) == 9 for item in spoken)
    known = [item.sync for item in spoken if item.sync is not None]
    assert [figure.value for figure in sync_figures(spoken, 0.75)] == [mean(known), min(known)]
