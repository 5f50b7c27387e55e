"""The same held-out speakers, seeds and sounds, made by the application exactly and with each option."""

import logging
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skimage.metrics import structural_similarity
from torch import Tensor

from tools.emulation.in_application import PREFIX
from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import Bench, make, plan_for, save_picture, save_sound
from tools.pocket.heldout.results import mean
from tools.pocket.heldout.talking import openness, sync_of
from tools.pocket.training_run import psnr
from wanvideo.registry import attention_backends, quantization_modes

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
    """Held-out clips with speech, as requests."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The speakers made exactly: what every row is compared with."""

    speakers: Speakers
    videos: list[Tensor]
    row: Row


def known_options() -> dict[tuple[str, str], str]:
    """(field, name) -> title of every row of the application's tables but the exact ones."""
    rows = [("quantization", row.name, row.label) for row in quantization_modes().values()]
    rows += [("attention", row.name, row.label) for row in attention_backends().values()]
    return {
        (field, name): label if name.startswith(PREFIX) else name
        for field, name, label in rows
        if name != EXACT[field]
    }


def measure_exact(bench: Bench) -> Reference:
    """Draw the speakers and make them with the exact options."""
    speakers = draw_speakers(bench)
    videos = speakers.speak("exact", EXACT)
    row = Row(
        option="exact", name=", ".join(EXACT.values()), effective="", lip_sync=speakers.lip_sync(videos)
    )
    return Reference(speakers=speakers, videos=videos, row=row)


def measure(reference: Reference, only: Container[str] | None = None) -> Iterator[Row]:
    """A row for each mode and each backend, or for those named in `only`."""
    for option, name in known_options():
        if only is None or name in only:
            yield _row(reference, option, name)


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


def draw_speakers(bench: Bench) -> Speakers:
    """The speakers of a run, the same in every one."""
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


def _row(reference: Reference, option: str, name: str) -> Row:
    speakers, options = reference.speakers, {**EXACT, option: name}
    plan = plan_for(speakers.requests[0], speakers.bench.folder / "plan.mp4", options)
    effective: str = getattr(plan, option)
    if effective != name:
        return Row(option=option, name=name, effective=effective)
    log.info("%s %s", option, name)
    videos = speakers.speak(f"{option}_{name}", options)
    pairs = list(zip(videos, reference.videos, strict=True))
    return Row(
        option=option,
        name=name,
        effective=name,
        psnr=mean(psnr(made[None], true[None]) for made, true in pairs),
        ssim=mean(ssim(made, true) for made, true in pairs),
        lip_sync=speakers.lip_sync(videos),
    )
