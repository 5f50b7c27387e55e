"""Jobs of the published sizes, on cards of any memory: facts from the headers of the real files."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.checkpoint.samples import manifests, write_header
from tests.plan_cases import CARD, CPU, REAL, STILL, Values, plan
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.hardware import Hardware
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory.work import Job, Work
from wanvideo.plan import GenerationPlan
from wanvideo.registry import attention_backends, quantization_modes

GIB = 1 << 30
DESKTOP = 300 << 20  # taken of a card by a desktop
EXACT = next(row for row in attention_backends().values() if row.fallback is None)


@cache
def published(manifest: str) -> CheckpointFacts:
    """Facts of a file with these names and shapes in bf16; of a sparse one."""
    tensors = {name: ("BF16", shape) for name, shape in manifests()[manifest].items()}
    with TemporaryDirectory() as folder:
        return inspect_checkpoint(write_header(Path(folder) / f"{manifest}.safetensors", tensors))


@cache
def models(task: str, small: bool = False) -> ModelSet:
    """The set of the 14B model for a task, or of the 1.3B one."""
    text = "wan2_1_t2v_1_3b" if small else "wan2_1_t2v_14b"
    shared = replace(REAL, vae=published("wan2_1_vae"), text_encoder=published("umt5_xxl_encoder"))
    if task == "text_to_video":
        return replace(shared, transformer=published(text))
    image = replace(
        shared,
        transformer=published("wan2_1_i2v_14b_480p"),
        image_encoder=published("clip_xlm_roberta_vit_h_14_visual"),
    )
    if task != "talk":
        return image
    audio = published("infinitetalk_single_audio")
    return replace(image, audio=audio, speech_encoder=published("wav2vec2_base"))


def card(gib: float, capability: tuple[int, int] = (8, 9), ram: float = 64) -> Hardware:
    """A machine with one card."""
    total = int(gib * GIB)
    gpu = replace(CARD, compute_capability=capability, total_bytes=total, free_bytes=total - DESKTOP)
    return replace(CPU, gpus=(gpu,), ram_bytes=int(ram * GIB), free_ram_bytes=int((ram - 4) * GIB))


SIZES = {"480p": (832, 480), "square": (640, 640), "720p": (1280, 720), "1080p": (1920, 1088)}


def planned(
    task: str,
    machine: Hardware,
    options: Values | None = None,
    *,
    size: str = "480p",
    frames: int = 81,
    small: bool = False,
) -> GenerationPlan:
    """With exact attention, if the options don't say otherwise."""
    width, height = SIZES[size]
    asked = {"task": task, "width": width, "height": height, "num_frames": frames}
    asked |= {} if task == "text_to_video" else {"image": "a.png"}
    return plan(asked, STILL, models(task, small), machine, {"attention": EXACT.name, **(options or {})})


def job(
    task: str = "text_to_video",
    size: str = "480p",
    mode: str = "disabled",
    dtype: str = "bf16",
    frames: int = 81,
    passes: int = 2,
) -> Job:
    """With exact attention, one window of ten steps."""
    width, height = SIZES[size]
    row = quantization_modes()[mode]
    speaks = task == "talk"
    work = Work(
        frames=frames,
        height=height,
        width=width,
        passes=(passes,) * 10,
        picture_frames=frames,
        first_frames=int(speaks),
        later_frames=9 * speaks,
        windows=2 if speaks else 1,
    )
    return Job(work=work, sizes=model_sizes(models(task), row, False, dtype), backend=EXACT)
