"""Lip-sync and colours of held-out speakers, made by the application itself: python -m tools.pocket.heldout.

Draws speakers from a seed that no training uses, lets the application make each of them talk, and measures
the finished files. With a voice bank (`train voices`) half of the speech is espeak-ng's, otherwise all is
synthetic.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from tools.pocket.dataset import AUDIO_MARGIN, Clips, make_clips
from tools.pocket.measure import lip_sync
from tools.pocket.sound import FRAME, RATE
from tools.pocket.voices import load_voice_bank
from wanvideo.media.frames import read_frames
from wanvideo.media.pictures import to_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.prepare import prepare
from wanvideo.request import read_options, read_request

SEED = 987_654_321
OPEN_MOUTH = 0.3  # speech that never opens the mouth further has no lip-sync to measure


def measure(count: int, voices: Path | None, folder: Path) -> dict[str, float]:
    """Figures over `count` clips of 33 frames at 192 pixels; the files stay in `folder`."""
    generator = torch.Generator().manual_seed(SEED)
    bank = None if voices is None else load_voice_bank(voices, torch.device("cpu"))
    clips = make_clips("talk", count, frames=33, size=192, generator=generator, voices=bank)
    assert clips.mouth is not None and clips.mouth_boxes is not None
    openness = clips.mouth[:, AUDIO_MARGIN:-AUDIO_MARGIN, 0]
    cache, right, wrong, colour, seconds = ModelCache(), [], [], [], []
    for index in range(count):
        begun = time.perf_counter()
        video = _speak(clips, index, folder, cache)
        seconds.append(time.perf_counter() - begun)
        colour.append(float((video.mean((1, 2, 3)) - clips.reference[index].mean((1, 2))).abs().mean()) / 2)
        if openness[index].max() > OPEN_MOUTH:
            box, other = clips.mouth_boxes[index : index + 1], openness[(index + 1) % count]
            right.append(float(lip_sync(video[None], box, openness[index : index + 1])))
            wrong.append(float(lip_sync(video[None], box, other[None])))
    return {
        "clips": count,
        "clips with speech": len(right),
        "lip-sync": round(float(np.mean(right)), 3),
        "lip-sync, worst clip": round(min(right), 3),
        "lip-sync with another clip's speech": round(float(np.mean(wrong)), 3),
        "colour error": round(float(np.mean(colour)), 4),
        "median seconds per clip": round(float(np.median(seconds)), 1),
    }


def _speak(clips: Clips, index: int, folder: Path, cache: ModelCache) -> Tensor:
    """The talking video of one speaker as the application saves it: (3, frames, size, size) in [-1, 1]."""
    assert clips.waves is not None
    picture, sound = folder / f"{index}.png", folder / f"{index}.wav"
    Image.fromarray(to_frames(clips.reference[index][:, None])[0]).save(picture)
    margin = AUDIO_MARGIN * FRAME
    soundfile.write(sound, clips.waves[index, margin:-margin].numpy(), RATE)
    asked = {"image": str(picture), "audio": [str(sound)], "prompt": clips.captions[index], "seed": index}
    plan = prepare(read_request(asked), read_options({}), folder / f"{index}.mp4")[0]
    frames = np.stack(list(read_frames(generate(plan, cache).output)))
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Lip-sync of held-out speakers through the application.")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--voices", type=Path, help="voice bank made by `train voices`")
    parser.add_argument("--out", type=Path, help="keep pictures, sounds and videos here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(json.dumps(measure(options.clips, options.voices, folder), indent=1) + "\n")


if __name__ == "__main__":
    main()
