"""Where clips are made: every video goes through the application and is read back from its finished file."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from tools.pocket.dataset import AUDIO_MARGIN, KINDS, Clips, make_clips
from tools.pocket.sound import FRAME, RATE
from tools.pocket.voices import VoiceBank
from wanvideo.lending import DTYPES, JobModels
from wanvideo.media.frames import read_frames
from wanvideo.media.pictures import to_frames
from wanvideo.media.segments import write_segment
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import POCKET, prepare
from wanvideo.request import TEXT_TO_VIDEO, read_options, read_request

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

SEED = 987_654_321
FRAMES, SIZE, FPS = 33, 192, 25.0
JUDGE = Path(__file__).parents[1] / "judge.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A run: where its files go, how many clips a task has, who speaks, and the loaded models.

    Without `human` no recordings of people take part.
    """

    folder: Path
    clips: int
    voices: VoiceBank | None
    human: bool
    cache: ModelCache

    def share(self, part: float) -> int:
        """A task's own number of clips, as a part of the run's."""
        return max(1, round(self.clips * part))

    def draw(self, kind: str, count: int, frames: int = FRAMES, size: int = SIZE) -> Clips:
        """Held-out clips: the same in every run, others for every kind, length and size."""
        offset = KINDS.index(kind) + 10 * (frames - FRAMES) + 10_000 * (size - SIZE)
        generator = torch.Generator().manual_seed(SEED + offset)
        voices = self.voices if kind in ("talk", "pair") else None
        return make_clips(kind, count, frames=frames, size=size, generator=generator, voices=voices)

    def path(self, name: str) -> Path:
        """The file of that name, like "talk/3.mp4"; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished video: its file's name, its pixels (3, frames, height, width) in [-1, 1], and the time."""

    name: str
    video: Tensor
    seconds: float


def make(bench: Bench, name: str, asked: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Made:
    """Let the application make `name` (an mp4); paths in `asked` are files of this machine."""
    output = bench.path(name)
    output.unlink(missing_ok=True)  # the application never overwrites: it would choose another name
    begun = time.perf_counter()
    finished = generate(plan_for(asked, output, options), bench.cache).output
    seconds = time.perf_counter() - begun
    return Made(name=name, video=read_video(finished), seconds=seconds)


def keep(bench: Bench, name: str, video: Tensor) -> str:
    """Store a drawn or decoded video (3, frames, height, width) as the application stores its own."""
    write_segment(to_frames(video), bench.path(name), fps=FPS)
    return name


def read_video(path: Path) -> Tensor:
    """Frames of a file -> (3, frames, height, width) in [-1, 1]."""
    frames = np.stack(list(read_frames(path, FPS)))
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1


def save_picture(bench: Bench, name: str, pixels: Tensor) -> str:
    """(3, height, width) in [-1, 1] -> the path of a PNG."""
    path = bench.path(name)
    Image.fromarray(to_frames(pixels[:, None])[0]).save(path)
    return str(path)


def save_sound(bench: Bench, name: str, wave: Tensor) -> str:
    """A clip's sound (samples) without its margins -> the path of a wav."""
    path, margin = bench.path(name), AUDIO_MARGIN * FRAME
    soundfile.write(path, wave[margin:-margin].numpy(), RATE)
    return str(path)


def lend_vae(bench: Bench) -> "AbstractContextManager[AutoencoderKLWan]":
    """The autoencoder as the application loads it."""
    plan = plan_for({"task": TEXT_TO_VIDEO, "prompt": "a red ball"}, bench.folder / "none.mp4")
    dtype = DTYPES[plan.dtype]
    return JobModels(files=plan.models, cache=bench.cache, device=plan.device, dtype=dtype).vae()


def run_identity(bench: Bench, judged: bool = False) -> str:
    """What figures depend on beside the code: weights, voices, how many clips, the judge if it is asked."""
    digest = hashlib.sha256(f"{bench.clips} {bench.human}".encode())
    files = [*sorted(POCKET.glob("*.safetensors")), POCKET / "model.json"]
    for path in files + ([JUDGE] if judged and JUDGE.exists() else []):
        digest.update(path.read_bytes())
    if bench.voices is not None:
        digest.update(bench.voices.samples.numpy().tobytes())
    return digest.hexdigest()[:12]


def plan_for(
    asked: Mapping[str, Any], output: Path, options: Mapping[str, Any] | None = None
) -> GenerationPlan:
    """A plan with the bundled model, whatever else the models folder holds."""
    run = {**(options or {}), "models_dir": str(POCKET)}
    return prepare(read_request(asked), read_options(run), output)[0]
