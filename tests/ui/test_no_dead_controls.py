"""Every control of the form changes what is planned, or the video itself: none of them is dead.

What is decided of a form is its plan without the request and the options that were asked for, which hold
every value as it was typed.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.checkpoint.lora_files import STYLES, make_changes, spelled, write_lora
from tests.media.media_files import grey_frames, picture, write_sound
from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CARD, CPU, start_values
from ui.events import show_models
from ui.fields import HIDDEN, TABLE, name_choices
from ui.page import place_parts
from ui.parts import Page
from ui.preset_events import apply_preset
from wanvideo.checkpoint.state import read_file
from wanvideo.cli import main
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.jobs.store import JobStore
from wanvideo.media.encoding import write_segment
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.presets import Preset, list_presets

Typed = Mapping[str, Any]
Decided = tuple[Any, ...]

GPU = replace(CPU, gpus=(CARD,))
SHARED = replace(CPU, gpus=(replace(CARD, free_bytes=CARD.total_bytes // 2),))
ASKED = ("request", "options", "output")  # what of a plan is not decided, and a name that holds the time
TALK: Typed = {"task": "talk", "image": "wide.png", "audio": ("speech.wav",), "prompt": "a", "seed": 7}
PAIR: Typed = {**TALK, "audio": ("speech.wav", "long.wav")}
IMAGE: Typed = {"task": "image_to_video", "image": "wide.png", "prompt": "a", "seed": 7}
TEXT: Typed = {"task": "text_to_video", "prompt": "a", "seed": 7}
FILMED: Typed = {**TEXT, "video": "film.mp4", "denoise_strength": 0.5, "num_inference_steps": "4"}
SWAPPED: Typed = {**TEXT, "blocks_to_swap": "2"}
CACHED: Typed = {**TEXT, "num_inference_steps": "8", "step_cache": "teacache"}
CHANGED: Typed = {
    "num_inference_steps": "7",
    "guidance_scale": "3",
    "quantization": "fp8_e5m2",
    "blocks_to_swap": "1",
}
FILES = (".png", ".wav", ".mp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A value that is typed into a field, over what else the form holds."""

    value: Any
    form: Typed = field(default_factory=lambda: TEXT)
    machine: Hardware = GPU


CASES: Mapping[str, Case] = {
    "task": Case(value="image_to_video", form={**TEXT, "image": "wide.png"}),
    "model": Case(value="eight_bits"),
    "prompt": Case(value="another"),
    "negative_prompt": Case(value="dull"),
    "image": Case(value="tall.png", form=IMAGE),
    "end_image": Case(value="tall.png", form=IMAGE),
    "video": Case(value="film.mp4", form={**FILMED, "video": None}),
    "extends": Case(value="film.mp4", form=IMAGE),
    "extends_from": Case(value="0.5", form={**IMAGE, "image": None, "extends": "film.mp4"}),
    "audio_start": Case(value=0.2, form=TALK),
    "audio": Case(value=("long.wav",), form=TALK),
    "audio_order": Case(value="sequence", form=PAIR),
    "speaker_boxes": Case(value="0,0,20,30; 60,30,96,60", form=PAIR),
    "width": Case(value="96", form={**TEXT, "width": "64", "height": "64"}),
    "height": Case(value="96", form={**TEXT, "width": "64", "height": "64"}),
    "num_frames": Case(value="13"),
    "seconds": Case(value="2"),
    "fps": Case(value="12"),
    "num_inference_steps": Case(value="3"),
    "guidance_scale": Case(value="3, 1"),
    "audio_guidance_scale": Case(value="2", form=TALK),
    "apg": Case(value=True, form=TALK),
    "flow_shift": Case(value="7"),
    "sampler": Case(value="euler"),
    "seed": Case(value=8),
    "count": Case(value=2),
    "denoise_strength": Case(value=0.75, form=FILMED),
    "start_step": Case(value=1),
    "end_step": Case(value="1"),
    "window_frames": Case(value="13", form=TALK),
    "motion_frames": Case(value="1", form=TALK),
    "color_correction": Case(value=0.0, form=TALK),
    "separate_vocals": Case(value=True, form=TALK),
    "riflex_freq_index": Case(value=6, form={**TEXT, "num_frames": "85"}),
    "loras": Case(value=("warm", "0.5")),
    "base_precision": Case(value="fp32"),
    "quantization": Case(value="fp8_e4m3fn_scaled"),
    "requantize": Case(value="as_stored", form={**TEXT, "model": "eight_bits", "quantization": "fp4_scaled"}),
    "attention": Case(value="sageattn"),
    "per_block_mean": Case(value="on"),
    "fuse_qkv_projections": Case(value=True),
    "rms_norm_function": Case(value="pytorch"),
    "use_tf32": Case(value=True),
    "use_cublas_gemm": Case(value=True),
    "force_contiguous_tensors": Case(value=True),
    "compile": Case(value="blocks"),
    "step_cache": Case(value="teacache", form={**CACHED, "step_cache": "off"}),
    "step_cache_threshold": Case(value="0.5", form=CACHED),
    "auto_hardware_tuning": Case(value=False),
    "blocks_to_swap": Case(value="1"),
    "load_device": Case(value="offload_device"),
    "num_cuda_streams": Case(value=1, form=SWAPPED),
    "prefetch_blocks": Case(value=0, form=SWAPPED),
    "bandwidth_target": Case(value=0.5, form={**SWAPPED, "num_inference_steps": "1000"}),
    "vram_threshold_percent": Case(value="50", machine=SHARED),
    "enable_cuda_optimization": Case(value=False, form=SWAPPED),
    "enable_dram_optimization": Case(value=False, form=SWAPPED),
    "offload_txt_emb": Case(value=True),
    "offload_img_emb": Case(value=True, form=IMAGE),
    "vace_blocks_to_swap": Case(value=2),
    "vae_tiling": Case(value="on", form={**TEXT, "width": "512", "height": "512"}),
    "vae_precision": Case(value="bf16"),
    "force_offload": Case(value=True),
    "debug_mode": Case(value=True, form=SWAPPED),
    "strict": Case(value=True, form={**TEXT, "attention": "sageattn"}, machine=CPU),
}
# What the planner hands on as it is. These change the frames: a video of each is made.
SHOWN_IN_FRAMES = ("end_image", "speaker_boxes", "apg", "color_correction")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, LoRAs, and beside the results what a visitor may name: pictures, sounds, a film."""
    folder = tmp_path_factory.mktemp("home")
    models, out = write_tiny_models(folder / "models"), folder / "out"
    official = read_file(models / "tiny_t2v.safetensors")
    write_lora(models / "loras/warm.safetensors", spelled(make_changes(official, 1), STYLES["comfy"]))
    convert = [
        "models",
        "convert",
        str(models / "tiny_t2v.safetensors"),
        str(models / "eight_bits.safetensors"),
    ]
    assert main([*convert, "--quantization", "fp8_e4m3fn"]) == 0
    out.mkdir()
    for name, size in {"wide": (96, 64), "tall": (64, 96)}.items():
        picture(*size).save(out / f"{name}.png")
    for name, seconds in {"speech": 0.6, "long": 1.0}.items():
        write_sound(out / f"{name}.wav", seconds, 44_100)
    write_segment(grey_frames(24, 64, 64), out / "film.mp4", fps=16)
    return folder


@pytest.fixture(scope="module")
def page(home: Path) -> Page:
    folders = {"output_dir": str(home / "out"), "models_dir": str(home / "models")}
    with gr.Blocks():
        page = place_parts(JobStore(home / "queue.sqlite"), folders, CPU)
        show_models(page)
    return page


def typed(page: Page, form: Typed) -> dict[Any, Any]:
    """Each widget's value when this is typed into a fresh page. A file is named without its folder."""
    values, folder = start_values(page.form), Path(page.folders["output_dir"])
    for name, given in form.items():
        parts = given if isinstance(given, tuple) else (given,)
        for widget, part in zip(page.form.widgets[name], parts, strict=False):
            is_file = isinstance(part, str) and part.endswith(FILES)
            values[widget] = str(folder / part) if is_file else part
    return values


def plans_of(page: Page, form: Typed, machine: Hardware) -> tuple[GenerationPlan, ...]:
    return prepare(*page.read(typed(page, form)), machine=machine)


def decided(page: Page, form: Typed, machine: Hardware = GPU) -> list[Decided] | str:
    """What the planner makes of the form, or its refusal."""
    return decided_of(page, typed(page, form), machine)


def decided_of(page: Page, values: Mapping[Any, Any], machine: Hardware) -> list[Decided] | str:
    try:
        plans = prepare(*page.read(values), machine=machine)
    except UserError as error:
        return str(error)
    names = [item.name for item in fields(GenerationPlan) if item.name not in ASKED]
    return [(*(getattr(plan, name) for name in names), plan.effective()) for plan in plans]


def test_every_field_has_a_case() -> None:
    assert set(CASES) == set(TABLE) - set(HIDDEN)


@pytest.mark.parametrize("name", sorted(set(CASES) - set(SHOWN_IN_FRAMES)))
def test_a_control_changes_what_is_decided(page: Page, name: str) -> None:
    case = CASES[name]
    before = decided(page, case.form, case.machine)
    after = decided(page, {**case.form, name: case.value}, case.machine)
    assert not isinstance(before, str), before
    assert before != after


@pytest.mark.parametrize("name", SHOWN_IN_FRAMES)
def test_a_control_changes_the_frames(page: Page, cache: ModelCache, name: str) -> None:
    case = CASES[name]
    plain = frames_of(page, case.form, cache)
    other = frames_of(page, {**case.form, name: case.value}, cache)
    assert plain.shape == other.shape and (plain != other).any()


@pytest.fixture(scope="module")
def cache() -> ModelCache:
    return ModelCache()


def frames_of(page: Page, form: Typed, cache: ModelCache) -> np.ndarray:
    (plan,) = plans_of(page, form, CPU)
    return np.stack(list(read_frames(generate(plan, cache).output, plan.settings.fps)))


CHOSEN = [
    (name, choice)
    for name, row in TABLE.items()
    if row.kind in ("choice", "name") and name != "task"
    for choice in (row.choices or [value for _, value in name_choices(name)])
    if choice not in (row.default, "")
]


@pytest.mark.parametrize(("name", "choice"), CHOSEN)
def test_a_choice_differs_from_the_automatic_one_or_is_what_that_came_to(
    page: Page, name: str, choice: str
) -> None:
    case = CASES[name]
    form = {key: value for key, value in case.form.items() if key != name}
    form |= {"num_inference_steps": "4", "flow_shift": "5"} if name == "sampler" else {}
    chosen = decided(page, {**form, name: choice}, case.machine)
    if chosen == decided(page, form, case.machine):
        (plan,) = plans_of(page, form, case.machine)
        tiling = "on" if plan.memory.decode_tile else "off"
        assert {**plan.effective(), "base_precision": plan.dtype, "vae_tiling": tiling}[name] == choice
    assert not isinstance(chosen, str), chosen


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_a_preset_changes_what_is_decided(page: Page, preset: Preset) -> None:
    for task, form in {"talk": TALK, "image_to_video": IMAGE, "text_to_video": TEXT}.items():
        if preset.is_for(task):
            changed = {**form, **CHANGED}
            values = typed(page, changed) | {page.models.picker.choice: preset.name}
            with warnings.catch_warnings(action="ignore"):  # toasts: files that are not installed
                updates = apply_preset(page, values)
            filled = {widget: updates.get(widget, value) for widget, value in values.items()}
            assert decided_of(page, filled, GPU) != decided(page, changed)
