"""The bundled presets: what the tables say is in the files, each makes a plan, and each machine gets one."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.plan_cases import CARD, CPU, GPU, NOTHING, REAL, SPOKEN, STILL, Values, checkpoint, plan
from tools.presets_page import PAGE, presets_page
from wanvideo.checkpoint.catalog import ModelSet, resolve_models
from wanvideo.checkpoint.lora_recipes import FEWEST_STEPS, Recipe
from wanvideo.effective_mode import StoredFormat
from wanvideo.hardware import Hardware
from wanvideo.inputs import InputFacts
from wanvideo.lora_plan import distilled_file, needed_file
from wanvideo.prepare import POCKET
from wanvideo.presets import GROUPS, OWN, Preset, list_presets, load_preset
from wanvideo.recommended import (
    FP4_TIERS,
    SIZES,
    TIERS,
    WITHOUT_CARD,
    nominal_gigabytes,
    recommended_preset,
)
from wanvideo.request import IMAGE_TO_VIDEO, OPTION_FIELDS, REQUEST_FIELDS, TALK, TASKS, TEXT_TO_VIDEO
from wanvideo.settings import Settings

PRESETS = {preset.name: preset for preset in list_presets()}
CASES = [(name, task) for name, preset in PRESETS.items() for task in TASKS if preset.is_for(task)]
INPUTS: dict[str, tuple[Values, InputFacts]] = {
    TALK: ({"task": TALK, "image": "a.png"}, STILL),
    IMAGE_TO_VIDEO: ({"task": IMAGE_TO_VIDEO, "image": "a.png"}, STILL),
    TEXT_TO_VIDEO: ({"task": TEXT_TO_VIDEO, "prompt": "a ball"}, NOTHING),
}
BILLION = 10**9
MEGA = 1 << 20


def machine_of(gigabytes: float, capability: tuple[int, int] = (8, 9), ram: int = 64) -> Hardware:
    """A machine with a card of that size, as NVML reports it: a little less."""
    total = int(gigabytes * 1024 - 36) * MEGA
    card = replace(CARD, compute_capability=capability, total_bytes=total, free_bytes=total - 500 * MEGA)
    return replace(GPU, gpus=(card,), ram_bytes=ram << 30, free_ram_bytes=(ram - 6) << 30)


def sized(component: str, name: str, billions: float, layers: int, dim: int) -> Any:
    """A bf16 file of that many weights, nearly all of them in the blocks."""
    numbers = int(billions * BILLION)
    stored = StoredFormat(parameters=int(numbers * 0.97), bytes=int(numbers * 0.97) * 2)
    return replace(
        checkpoint(component, name),
        num_parameters=numbers,
        bytes=numbers * 2,
        num_layers=layers,
        dim=dim,
        stored=stored if component in ("transformer", "infinitetalk") else StoredFormat(),
    )


SMALL = replace(
    REAL,
    transformer=sized("transformer", "wan_t2v_1.3b", 1.4, 30, 1536),
    text_encoder=sized("text_encoder", "umt5", 5.7, 24, 4096),
    vae=sized("vae", "vae", 0.127, 0, 96),
)
LARGE = replace(
    SMALL,
    transformer=sized("transformer", "wan_i2v", 16.4, 40, 5120),
    image_encoder=sized("image_encoder", "clip", 0.63, 32, 1280),
)
SPEAKING = replace(
    LARGE,
    audio=sized("infinitetalk", "infinitetalk", 2.6, 40, 5120),
    speech_encoder=sized("speech_encoder", "wav2vec2", 0.095, 12, 768),
)
REAL_MODELS = {TALK: SPEAKING, IMAGE_TO_VIDEO: LARGE, TEXT_TO_VIDEO: SMALL}


@cache
def pocket(task: str) -> ModelSet:
    return resolve_models(task, None, [POCKET])


def asked_of(preset: Preset, task: str) -> tuple[Values, Values]:
    """(request, options) as they are after the preset was chosen for the example inputs of the task."""
    named = {**INPUTS[task][0], **preset.named(task), "task": task}
    own = {name: value for name, value in named.items() if name in REQUEST_FIELDS}
    return own, {name: value for name, value in named.items() if name in OPTION_FIELDS}


def planned(preset: Preset, task: str, models: ModelSet, machine: Hardware) -> Any:
    asked, options = asked_of(preset, task)
    voices = len(asked.get("audio", ()))
    facts = replace(INPUTS[task][1], sounds=SPOKEN.sounds * voices)
    return plan(asked, facts, models, machine, options)


def home_of(preset: Preset) -> Hardware:
    """A machine that the preset is meant for."""
    if preset.name in FP4_TIERS.values():
        return machine_of(32, (12, 0))
    return machine_of(24 if preset.tier is None else preset.tier or 6)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_preset_makes_a_plan(name: str, task: str) -> None:
    preset = PRESETS[name]
    for models, machine in ((pocket(task), CPU), (REAL_MODELS[task], home_of(preset))):
        made = planned(preset, task, models, machine)
        asked = preset.named(task)
        assert made.request.task == task and made.device == machine.device
        for field in ("num_inference_steps", "flow_shift", "sampler"):
            assert asked.get(field) in (None, getattr(made.settings, field))
        size = asked.get("width"), asked.get("height")
        assert size in ((None, None), (made.width, made.height))
        if asked.get("num_frames"):
            assert made.total_frames == asked["num_frames"]
        assert max(window.frames for window in made.windows) <= (asked.get("window_frames") or 1000)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", [*TIERS.values(), *FP4_TIERS.values()])
def test_what_a_tier_is_given_fits_its_card(name: str, task: str) -> None:
    machine = home_of(PRESETS[name])
    made = planned(PRESETS[name], task, REAL_MODELS[task], machine)
    assert 0 < made.forecast.device_bytes <= machine.gpus[0].free_bytes
    assert not any("expected to need" in note for note in made.notes)


def test_every_preset_says_what_it_is_for() -> None:
    for preset in PRESETS.values():
        assert preset.group in GROUPS and preset.group != OWN, preset.name
        assert preset.description.endswith(".") and preset.hint[-1:] in (".", ""), preset.name
        assert (preset.tier is not None) == (preset.group == "tier")
        assert any(map(preset.is_for, TASKS))


QUANTIZED = {
    "tier_under_8gb": "fp4_scaled",
    "tier_8gb": "fp4_scaled",
    "tier_8gb_720p": "fp4_scaled",
    "tier_12gb": "fp8_e4m3fn_scaled",
    "tier_12gb_720p": "fp8_e4m3fn_scaled",
    "tier_16gb": "fp8_e4m3fn_scaled",
    "tier_16gb_720p": "fp8_e4m3fn_scaled",
    "tier_24gb": "fp8_e4m3fn_scaled_fast",
    "tier_32gb": "auto",
    "tier_32gb_blackwell": "fp4_scaled_fast",
}


def test_tiers_hold_their_table() -> None:
    tiers = {name: preset for name, preset in PRESETS.items() if preset.group == "tier"}
    assert {name: preset.options["quantization"] for name, preset in tiers.items()} == QUANTIZED
    for name, preset in tiers.items():
        automatic = ("blocks_to_swap", "vram_threshold_percent", "attention", "vae_tiling")
        assert {preset.options[field] for field in automatic} == {"auto"}, name
        assert preset.options["auto_hardware_tuning"] is True
        for task in TASKS:
            steps = preset.named(task)["num_inference_steps"]
            assert steps in ((4, 20) if (preset.tier or 0) < 12 else (4, 25, 40)), name
    assert {lowest: PRESETS[name].tier for lowest, name in TIERS.items()} == {size: size for size in TIERS}
    wide = {"width": 1280, "height": 720}
    for name in ("tier_8gb_720p", "tier_12gb_720p", "tier_16gb_720p"):
        assert all(wide.items() <= PRESETS[name].named(task).items() for task in TASKS)
    assert PRESETS["tier_8gb_720p"].named(IMAGE_TO_VIDEO)["num_frames"] == 61
    assert PRESETS["tier_8gb_720p"].named(TALK)["window_frames"] == 61
    for name, frames in (("tier_24gb", 81), ("tier_32gb", 121), ("tier_32gb_blackwell", 121)):
        assert {**wide, "num_frames": frames}.items() <= PRESETS[name].named(TEXT_TO_VIDEO).items()


CARDS = {
    "card_rtx_5090": ("bf16", "fp4_scaled_fast", "sageattn_3_fp4"),
    "card_rtx_4090": ("bf16", "fp8_e4m3fn_fast", "sageattn_3_fp8"),
    "card_rtx_3090": ("bf16", "fp8_e4m3fn", "sageattn"),
    "card_under_12gb": ("fp16", "fp8_e5m2_fast", "sageattn"),
    "card_compatible": ("bf16", "disabled", "sdpa"),
}


def test_presets_by_card_fill_in_three_fields() -> None:
    cards = {name: dict(preset.options) for name, preset in PRESETS.items() if preset.group == "card"}
    fields = ("base_precision", "quantization", "attention")
    assert cards == {name: dict(zip(fields, values, strict=True)) for name, values in CARDS.items()}
    assert not any(PRESETS[name].request or PRESETS[name].tasks for name in cards)
    old = planned(PRESETS["card_under_12gb"], TEXT_TO_VIDEO, SMALL, machine_of(10, (8, 6)))
    assert (old.quantization, old.dtype) == ("fp8_e5m2", "fp16")


def test_presets_by_purpose_leave_the_shift_and_guidance_of_talk() -> None:
    purposes = {name for name, preset in PRESETS.items() if preset.group == "purpose"}
    assert purposes == {"fast_preview", "standard", "high_quality", "memory_optimised", "speed_optimised"}
    for name in purposes:
        preset = PRESETS[name]
        assert set(preset.tasks) == set(TASKS)
        assert not {"flow_shift", "guidance_scale", "audio_guidance_scale"} & preset.named(TALK).keys()
        assert not any(needed_file(task, preset.named(task)["num_inference_steps"]) for task in TASKS)


NAMED: dict[str, dict[str, Any]] = {
    "infinitetalk_workflow": {
        "base_precision": "bf16", "quantization": "fp4_scaled", "load_device": "main_device",
        "attention": "sageattn_3_fp4", "rms_norm_function": "default", "blocks_to_swap": 40,
        "enable_cuda_optimization": True, "enable_dram_optimization": True, "auto_hardware_tuning": False,
        "vram_threshold_percent": 80, "num_cuda_streams": 16, "bandwidth_target": 1.0,
        "offload_txt_emb": False,
        "offload_img_emb": False, "vace_blocks_to_swap": 0, "debug_mode": False, "num_inference_steps": 6,
        "guidance_scale": 1.0, "flow_shift": 7.0, "sampler": "dpm++_sde", "force_offload": False,
        "use_tf32": False, "use_cublas_gemm": False, "force_contiguous_tensors": False,
        "fuse_qkv_projections": False,
    },
    "infinitetalk_fp4_test": {
        "width": 640, "height": 720, "num_frames": 81, "fps": 16.0, "num_inference_steps": 6,
        "guidance_scale": 7.0, "flow_shift": 7.0, "sampler": "euler", "denoise_strength": 1.0,
        "quantization": "fp4_experimental", "attention": "sageattn_3_fp4", "blocks_to_swap": 40,
        "auto_hardware_tuning": True, "vram_threshold_percent": 50,
    },
    "large_vram": {
        "quantization": "fp4_scaled", "attention": "sageattn_3_fp4", "blocks_to_swap": 0,
        "num_cuda_streams": 8,
    },
    "save_vram": {"blocks_to_swap": 20, "num_cuda_streams": 16, "vram_threshold_percent": 70},
    "debug": {"blocks_to_swap": 10, "debug_mode": True, "force_contiguous_tensors": True},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_settings_are_there_to_the_letter(name: str) -> None:
    named = PRESETS[name].named(TALK)
    named.pop("task", None)
    assert named == NAMED[name]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_few_steps_name_the_file_they_are_made_for(name: str, task: str) -> None:
    preset = PRESETS[name]
    steps = preset.named(task).get("num_inference_steps")
    if steps is None or steps >= FEWEST_STEPS:
        assert needed_file(task, steps) is None
        return
    file = needed_file(task, steps)
    assert file is not None, "a preset of few steps for a task whose distilled file is not known"
    assert "step-distilled LoRA" in preset.description
    notes = " ".join(planned(preset, task, REAL_MODELS[task], home_of(preset)).notes)
    assert f"{steps} steps are few" in notes and f"models download {file.name}" in notes
    assert file.file_name in notes
    fast = replace(REAL_MODELS[task], recipe=Recipe(title="lightx2v"))
    assert "are few" not in " ".join(planned(preset, task, fast, home_of(preset)).notes)


def test_a_file_is_named_only_for_models_that_can_wear_it() -> None:
    file = distilled_file(TALK, 5120)
    assert file is not None and distilled_file(TALK, 1536) is None and distilled_file(TEXT_TO_VIDEO) is None
    note = " ".join(plan({**INPUTS[TEXT_TO_VIDEO][0], "steps": 4}, models=SMALL).notes)
    assert "those of lightx2v" in note and file.file_name not in note


# Memory as NVML reports it, in MiB
REPORTED = {
    "RTX 2060": (6144, 6), "RTX 4060": (8188, 8), "RTX 3080": (10240, 10), "GTX 1080 Ti": (11264, 11),
    "RTX 3060": (12288, 12), "RTX 4070": (12282, 12), "T4": (15360, 16), "RTX 4080": (16376, 16),
    "A4500": (20470, 20), "L4": (23034, 24), "A10": (23028, 24), "RTX 4090": (24564, 24),
    "RTX 3090 as torch sees it": (24166, 24), "RTX 5090": (32607, 32), "A100 40": (40536, 40),
    "L40S": (46068, 48), "A100 80": (81920, 80), "H100": (81559, 80), "H200": (143771, 141),
    "a slice of a card": (9856, 10), "an odd one": (13500, 12), "a toy": (1000, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_nominal_size_is_what_the_card_is_sold_as(name: str) -> None:
    reported, sold = REPORTED[name]
    assert nominal_gigabytes(reported * MEGA) == sold


RECOMMENDED = [
    (6, (7, 5), "tier_under_8gb"),
    (8, (8, 9), "tier_8gb"),
    (10, (8, 6), "tier_8gb"),
    (11, (7, 5), "tier_8gb"),
    (12, (8, 6), "tier_12gb"),
    (16, (8, 9), "tier_16gb"),
    (16, (12, 0), "tier_16gb"),
    (20, (8, 9), "tier_16gb"),
    (24, (8, 6), "tier_24gb"),
    (32, (12, 0), "tier_32gb_blackwell"),
    (32, (7, 0), "tier_32gb"),
    (141, (9, 0), "tier_32gb"),
    (180, (10, 0), "tier_32gb_blackwell"),
]


@pytest.mark.parametrize(("size", "capability", "name"), RECOMMENDED)
@pytest.mark.parametrize("task", TASKS)
def test_each_machine_gets_one_with_its_reason(
    size: int, capability: tuple[int, int], name: str, task: str
) -> None:
    found = recommended_preset(machine_of(size, capability), task)
    assert found.name == name and PRESETS[name].is_for(task)
    assert f"RTX 4090 has {size} GB" in found.reason and ".".join(map(str, capability)) in found.reason
    assert ("streamed from main memory" in found.reason) == (size < 8 and task != TEXT_TO_VIDEO)
    assert found.reason.endswith(".") and ("FP4" in found.reason) == (capability >= (10, 0))


@pytest.mark.parametrize("task", TASKS)
def test_without_a_card_it_is_the_bundled_model(task: str) -> None:
    for machine, said in ((CPU, "no NVIDIA card"), (replace(GPU, torch_has_cuda=False), "CPU build")):
        found = recommended_preset(machine, task)
        assert found.name == WITHOUT_CARD and said in found.reason
    named = PRESETS[WITHOUT_CARD].named(task)
    assert named["model"] == pocket(task).name
    assert planned(PRESETS[WITHOUT_CARD], task, pocket(task), CPU).settings == pocket_settings(task)


def pocket_settings(task: str) -> Settings:
    """What the bundled model does when nothing is asked of it."""
    asked, facts = INPUTS[task]
    made: Settings = plan(asked, facts, pocket(task)).settings
    return made


def test_sizes_grow() -> None:
    assert list(SIZES) == sorted(SIZES) and set(TIERS) - {0} <= set(SIZES)
    assert load_preset("tier_8gb").tier == 8


def test_the_page_of_presets_is_current() -> None:
    assert Path(PAGE).read_text("utf-8") == presets_page(), "run python -m tools.presets_page"
