"""Draw and speak the example inputs: `python -m tools.pocket.examples [folder]`."""

import argparse
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from PIL import Image
from torch import Tensor

from tools.pocket import poses, scenes
from tools.pocket.canvas import Canvas
from tools.pocket.looks import Look, Setting, character
from tools.pocket.poses import SEAT_SCALE, SEAT_X, SEAT_Y

SIZE = 512
_PICTURES: dict[str, tuple[Look, Setting]] = {
    "girl": (
        replace(
            character("girl", Random(1)),
            skin=(0.98, 0.80, 0.66),
            hair="brown",
            hair_style="pigtails",
            shirt="yellow",
            headwear=None,
            glasses=False,
            freckles=True,
            iris=(0.30, 0.56, 0.38),
        ),
        Setting(place="hills", colour="blue", second="green", seed=5),
    ),
    "boy": (
        replace(
            character("boy", Random(2)),
            skin=(0.78, 0.55, 0.39),
            hair="black",
            hair_style="curly",
            shirt="blue",
            headwear=None,
            glasses=True,
            freckles=False,
        ),
        Setting(place="room", colour="yellow", second="orange", seed=2),
    ),
    "cat": (
        replace(
            character("cat", Random(3)),
            colour="orange",
            shirt="blue",
            marked=True,
            glasses=False,
            headwear=None,
            iris=(0.30, 0.56, 0.38),
        ),
        Setting(place="bokeh", colour="purple", second="pink", seed=3),
    ),
    "bear": (
        replace(
            character("bear", Random(4)),
            colour="brown",
            shirt="red",
            headwear="woolly hat",
            headwear_colour="green",
            glasses=False,
        ),
        Setting(place="gradient", colour="blue", second="white", seed=4),
    ),
    "robot": (
        replace(character("robot", Random(5)), colour="blue", shirt="orange", headwear=None),
        Setting(place="stripes", colour="green", second="white", seed=5),
    ),
}
_PAIR = (
    replace(
        character("woman", Random(6)),
        skin=(0.59, 0.40, 0.29),
        hair="black",
        hair_style="bun",
        shirt="pink",
        headwear=None,
        glasses=False,
    ),
    replace(
        character("man", Random(7)),
        skin=(1.00, 0.87, 0.77),
        hair="red",
        hair_style="short",
        beard=True,
        shirt="green",
        headwear=None,
        glasses=False,
    ),
)
_SPEECH = {
    "hello": (
        "en-us+f3",
        175,
        58,
        "Hello! I am a little cartoon, and I can talk.",
    ),
    "answer": ("en-gb+m3", 145, 40, "That is wonderful. Tell me, where does your voice come from?"),
    "nihao": ("cmn-latn-pinyin+f2", 140, 55, "ni3 hao3! hen3 gao1 xing4 ren4 shi2 ni3."),
}


def write_examples(folder: Path) -> list[Path]:
    """Six pictures and three wav files; needs the program espeak-ng. Returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: _portrait(look, setting) for name, (look, setting) in _PICTURES.items()} | {
        "pair": _pair()
    }
    files = []
    for name, pixels in drawn.items():
        files.append(folder / f"{name}.png")
        picture = (pixels * 255.0).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(files[-1], optimize=True)
    for name, (voice, speed, pitch, text) in _SPEECH.items():
        files.append(folder / f"{name}.wav")
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(files[-1]), text],
            check=True,
            capture_output=True,
        )
    return files


def _portrait(look: Look, setting: Setting) -> Tensor:
    pose = replace(
        poses.still(1, 1, Random(0)),
        x=torch.zeros(1, 1),
        y=torch.zeros(1, 1),
        scale=torch.full((1, 1), 0.52),
        smile=torch.full((1, 1), 0.75),
    )
    return scenes.paint([look], [setting], pose, SIZE, torch.device("cpu"))[0, :, 0]


def _pair() -> Tensor:
    """Two speakers: one fills the left half of the picture, one the right half."""
    setting = Setting(place="room", colour="blue", second="yellow", seed=8)
    canvas = Canvas(scenes.backgrounds([setting], SIZE, torch.device("cpu")).clone())
    for look, side in zip(_PAIR, (-1.0, 1.0), strict=True):
        pose = replace(
            poses.still(1, 1, Random(0)),
            x=torch.full((1, 1), SEAT_X * side),
            y=torch.full((1, 1), SEAT_Y),
            scale=torch.full((1, 1), 0.52 * SEAT_SCALE),
            smile=torch.full((1, 1), 0.75),
        )
        scenes.place_subjects(canvas, [look], pose)
    return canvas.pixels[0, :, 0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[2] / "examples")
    write_examples(parser.parse_args().folder)
