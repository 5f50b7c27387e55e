"""What a planner is given, as plain data: files' facts, models, machines, and requests to start from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.catalog import ModelProfile, ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.hardware import Gpu, Hardware
from wanvideo.inputs import InputFacts
from wanvideo.media.probe import PictureFacts, SoundFacts, VideoFacts
from wanvideo.plan import GenerationPlan, make_plan
from wanvideo.request import read_options, read_request

Values = dict[str, Any]

CARD = Gpu(
    name="RTX 4090", compute_capability=(8, 9), total_bytes=24 << 30, free_bytes=23 << 30, driver="580.1"
)
CPU = Hardware(gpus=(), cpu="a CPU", cores=2, ram_bytes=8 << 30, free_ram_bytes=6 << 30, system="Linux 6")
GPU = replace(CPU, gpus=(CARD,))


def checkpoint(component: str, name: str) -> CheckpointFacts:
    path = Path("models") / f"{name}.safetensors"
    return CheckpointFacts(
        path=path,
        files=(path,),
        component=component,
        dim=5120,
        num_layers=40,
        dtypes=("BF16",),
        num_parameters=1000,
        bytes=2000,
    )


REAL = ModelSet(
    name="wan_i2v",
    profile=ModelProfile(label="Wan"),
    transformer=checkpoint("transformer", "wan_i2v"),
    vae=replace(checkpoint("vae", "vae"), dim=96),
    text_encoder=checkpoint("text_encoder", "umt5"),
    tokenizer=Path("models/spiece.model"),
)
POCKET = replace(
    REAL,
    profile=ModelProfile(
        label="Pocket",
        area=128 * 128,
        defaults={
            "talk": {"num_inference_steps": 8, "window_frames": 33, "motion_frames": 5, "sampler": "euler"},
            "text_to_video": {"guidance_scale": (6.0, 1.0), "flow_shift": 8.0, "num_frames": 17},
        },
    ),
)


def picture(width: int = 512, height: int = 512) -> PictureFacts:
    return PictureFacts(width=width, height=height)


def sound(seconds: float) -> SoundFacts:
    return SoundFacts(seconds=seconds, rate=16_000, channels=1)


def video(width: int = 832, height: int = 480) -> VideoFacts:
    return VideoFacts(width=width, height=height, frames=48, fps=24, seconds=2, has_sound=True)


STILL = InputFacts(picture=picture())
FILMED = InputFacts(video=video())
SPOKEN = InputFacts(picture=picture(), sounds=(sound(4.0),))
DUET = InputFacts(picture=picture(), sounds=(sound(1.0), sound(2.02)))
NOTHING = InputFacts()

TALK: Values = {"task": "talk", "image": "a.png"}
SPEECH: Values = {**TALK, "audio": ["a.wav"]}
PAIR: Values = {**TALK, "audio": ["a.wav", "b.wav"]}
FILM: Values = {"task": "talk", "video": "a.mp4"}
IMAGE: Values = {"task": "image_to_video", "image": "a.png"}
TEXT: Values = {"task": "text_to_video"}


def plan(
    asked: Values,
    facts: InputFacts = NOTHING,
    models: ModelSet = REAL,
    machine: Hardware = CPU,
    options: Values | None = None,
) -> GenerationPlan:
    request = read_request({"seed": 7, **asked})
    return make_plan(request, read_options(options or {}), facts, models, machine, Path("out.mp4"))
