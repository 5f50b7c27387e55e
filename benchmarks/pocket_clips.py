"""Two clips in a process of its own, one after the other: python -m benchmarks.pocket_clips FOLDER [--quick].

When each was finished, and where its seconds went, is the last line of standard output, as JSON.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from benchmarks.measuring import wait
from wanvideo.hardware import probe_hardware
from wanvideo.model_cache import open_cache
from wanvideo.models.vae import encode
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import POCKET, prepare
from wanvideo.presets import join_layers, load_preset

PRESET, MODEL = "pocket_demo", "pocket_i2v"
FRAMES = 33
TINY: Mapping[str, Any] = {
    "num_frames": 5,
    "window_frames": 5,
    "motion_frames": 1,
    "width": 64,
    "height": 64,
    "num_inference_steps": 2,
}
CLIPS = 2
COMPUTING = ("denoise", "decode")  # stages that are the model's and the VAE's alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """`ended`: by the clock of the day. `seconds` of the whole, `steps` in it; `other`: the seconds that are
    neither denoising nor the VAE's. `processor`: seconds of processors that it took, the start of the process
    counted to the first; a busy machine changes them less.
    """

    ended: float
    seconds: float
    other: float
    processor: float
    steps: int
    stages: dict[str, float]


def plan_clip(folder: Path, *, quick: bool, **changes: Any) -> GenerationPlan:
    """The demo's talking girl, 33 frames. Raises UserError."""
    asked = {"num_frames": FRAMES, "model": MODEL, "models_dir": str(POCKET), **(TINY if quick else {})}
    request, options = join_layers([*load_preset(PRESET).layers(), {**asked, **changes}])
    return prepare(request, options, folder / "clip.mp4")[0]


def make_clips(folder: Path, *, quick: bool) -> list[Clip]:
    """Each with another seed, the models kept."""
    cache, made, used = open_cache(probe_hardware()), [], 0.0
    for seed in range(CLIPS):
        plan = plan_clip(folder, quick=quick, seed=seed)
        with _encoding_timed() as encoding:
            result = generate(plan, cache)
        wait()
        before, used = used, time.process_time()
        computing = sum(result.stages[name] for name in COMPUTING) + sum(encoding)
        made.append(
            Clip(
                ended=time.time(),
                seconds=result.seconds,
                other=result.seconds - computing,
                processor=used - before,
                steps=len(plan.settings.steps),
                stages=result.stages,
            )
        )
    return made


@contextmanager
def _encoding_timed() -> Iterator[list[float]]:
    """The seconds of each time that the VAE encodes."""
    seconds: list[float] = []

    def timed(*given: Any) -> Tensor:
        begun = time.perf_counter()
        latents = encode(*given)
        wait()
        seconds.append(time.perf_counter() - begun)
        return latents

    with patch("wanvideo.conditioning.encode", timed):
        yield seconds


def main() -> None:
    """Make the clips, tell about them."""
    folder, *more = sys.argv[1:]
    print(json.dumps([asdict(clip) for clip in make_clips(Path(folder), quick="--quick" in more)]))


if __name__ == "__main__":
    main()
