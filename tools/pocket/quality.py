"""What each quantization mode and attention backend costs in quality: python -m tools.pocket.quality.

The same held-out speakers, seeds and sounds, made by the application once exactly and once with each mode and
each backend of the tables; --docs writes docs/quality.md.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import Bench, make, plan_for, save_picture, save_sound
from tools.pocket.heldout.results import mean
from tools.pocket.heldout.talking import openness, sync_of
from tools.pocket.training_run import psnr
from wanvideo.hardware import probe_hardware
from wanvideo.model_cache import ModelCache
from wanvideo.registry import attention_backends, quantization_modes

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
EXACT = {"quantization": "disabled", "attention": "sdpa"}
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One option: the name asked for, what ran, and its loss; the loss is None where another option ran."""

    option: str
    name: str
    effective: str
    psnr: float | None = None
    ssim: float | None = None
    lip_sync: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speakers:
    """Held-out clips with speech, as requests, and the exact videos of them."""

    bench: Bench
    clips: Clips
    requests: list[dict[str, Any]]

    def speak(self, folder: str, options: Mapping[str, Any]) -> list[Tensor]:
        """Videos (3, F, H, W) of all clips under those options."""
        return [
            make(self.bench, f"{folder}/{index}.mp4", asked, options).video
            for index, asked in enumerate(self.requests)
        ]

    def lip_sync(self, videos: list[Tensor]) -> float | None:
        """Mean over the clips whose sound opens the mouth."""
        assert self.clips.mouth_boxes is not None
        tracks = openness(self.clips)
        return mean(
            sync_of(video, self.clips.mouth_boxes[index], tracks[index]) for index, video in enumerate(videos)
        )


def measure(bench: Bench) -> list[Row]:
    """The exact row first, then a row for each mode and each backend."""
    speakers = _speakers(bench)
    exact = speakers.speak("exact", EXACT)
    rows = [Row(option="exact", name="disabled, sdpa", effective="", lip_sync=speakers.lip_sync(exact))]
    names = {"quantization": list(quantization_modes()), "attention": list(attention_backends())}
    for option, listed in names.items():
        for name in listed:
            if name != EXACT[option]:
                rows.append(_row(speakers, option, name, exact))
    return rows


def ssim(made: Tensor, exact: Tensor) -> float:
    """Structural similarity of two videos (3, F, H, W) in [-1, 1], mean over the frames."""
    frames = zip(made.unbind(1), exact.unbind(1), strict=True)
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            one.numpy(), other.numpy(), channel_axis=0, data_range=2.0
        )
        for one, other in frames
    ]
    return float(sum(values) / len(values))


def table(rows: list[Row]) -> str:
    """Markdown; an option that this machine can't run says what ran instead and has no figures."""
    lines = ["| option | mode | PSNR (dB) | SSIM | lip-sync | |", "|---|---|---|---|---|---|"]
    for row in rows:
        figures = [_shown(row.psnr, ".1f"), _shown(row.ssim, ".3f"), _shown(row.lip_sync, ".3f")]
        note = "" if row.effective in ("", row.name) else f"not on this machine: {row.effective} runs instead"
        lines.append(f"| {row.option} | {row.name} | {' | '.join(figures)} | {note} |")
    return "\n".join(lines)


def _speakers(bench: Bench) -> Speakers:
    clips = bench.draw("talk", bench.clips)
    assert clips.waves is not None
    requests = [
        {
            "image": save_picture(bench, f"inputs/{index}.png", clips.reference[index]),
            "audio": [save_sound(bench, f"inputs/{index}.wav", clips.waves[index])],
            "prompt": clips.captions[index],
            "seed": index,
        }
        for index in range(bench.clips)
    ]
    return Speakers(bench=bench, clips=clips, requests=requests)


def _row(speakers: Speakers, option: str, name: str, exact: list[Tensor]) -> Row:
    options = {**EXACT, option: name}
    plan = plan_for(speakers.requests[0], speakers.bench.folder / "plan.mp4", options)
    effective: str = getattr(plan, option)
    if effective != name:
        return Row(option=option, name=name, effective=effective)
    log.info("%s %s", option, name)
    videos = speakers.speak(f"{option}_{name}", options)
    pairs = list(zip(videos, exact, strict=True))
    return Row(
        option=option,
        name=name,
        effective=name,
        psnr=mean(psnr(made[None], true[None]) for made, true in pairs),
        ssim=mean(ssim(made, true) for made, true in pairs),
        lip_sync=speakers.lip_sync(videos),
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write_page(rows: list[Row], clips: int) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    machine = probe_hardware()
    device = machine.gpus[0].name if machine.device == "cuda" else f"{machine.cores} CPU cores"
    head = (
        f"{clips} clips on {device}, torch {torch.__version__.partition('+')[0]}, {machine.dtype}: "
        f"`python -m tools.pocket.quality --clips {clips} --docs`"
    )
    PAGE.write_text(f"{before}{BEGIN}\n\n{head}\n\n{table(rows)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.pocket.quality", description=__doc__)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--out", type=Path, help="keep pictures, sounds and videos here")
    parser.add_argument("--docs", action="store_true", help="write docs/quality.md")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        bench = Bench(folder=folder, clips=options.clips, voices=None, human=False, cache=ModelCache())
        rows = measure(bench)
    if options.docs:
        _write_page(rows, options.clips)
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
