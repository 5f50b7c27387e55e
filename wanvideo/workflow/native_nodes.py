"""ComfyUI's own nodes as Wan graphs use them: their widgets in order."""

from typing import Any

from wanvideo.request import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from wanvideo.workflow.rows import (
    INT,
    NUMBER,
    SPACING,
    SWITCH,
    TEXT,
    Leave,
    NodeRow,
    Widget,
    by_table,
    other,
    to,
    usual,
)

_TO_THE_END = 10_000  # what the page offers as the last step

# Names that only ComfyUI has for solvers of the sampler table.
_SOLVERS = {"uni_pc": "unipc", "uni_pc_bh2": "unipc", "dpmpp_2m_sde": "dpm++_sde"}
_EVEN = ("simple", "normal", "sgm_uniform")
_SPACINGS = {**dict.fromkeys(_EVEN, ""), "beta": "/beta"}


def _solver(value: Any) -> Any:
    return _SOLVERS.get(str(value), value)


def _last_step(value: Any) -> Any:
    if value >= _TO_THE_END:
        raise Leave("to the end, as usual")
    return value


def _stored(value: Any) -> Any:
    if value == "default":
        raise Leave("as the file has it, or what suits this card")
    return value


_solver_widget = to("sampler_name", TEXT, "sampler", read=_solver)
_spacing = to("scheduler", TEXT, SPACING, read=by_table(_SPACINGS, "these sigmas have no counterpart"))
_steps = to("steps", INT, "num_inference_steps")
_cfg = to("cfg", NUMBER, "guidance_scale")
_denoise = to("denoise", NUMBER, "denoise_strength")
_size = (to("width", INT), to("height", INT), to("length", INT, "num_frames"))
_batch = usual("batch_size", INT, 1, "one video at a time; ask for several with Variations")

_LOADERS = (
    NodeRow(
        kinds=("UNETLoader",),
        widgets=(
            to("unet_name", TEXT, "model", file="transformer"),
            to("weight_dtype", TEXT, "quantization", read=_stored),
        ),
    ),
    NodeRow(
        kinds=("UnetLoaderGGUF", "UnetLoaderGGUFAdvanced"),
        widgets=(to("unet_name", TEXT, "model", file="transformer"),),
    ),
    NodeRow(kinds=("CheckpointLoaderSimple",), widgets=(to("ckpt_name", TEXT, "model", file="transformer"),)),
    NodeRow(
        kinds=("CLIPLoader", "CLIPLoaderGGUF"),
        widgets=(
            Widget(name="clip_name", shape=TEXT, file="text_encoder"),
            usual("type", TEXT, "wan", "only the text encoder of Wan is used"),
            other("device", TEXT, "the text encoder runs where memory allows"),
        ),
    ),
    NodeRow(
        kinds=("CLIPVisionLoader",), widgets=(Widget(name="clip_name", shape=TEXT, file="image_encoder"),)
    ),
    NodeRow(kinds=("VAELoader",), widgets=(Widget(name="vae_name", shape=TEXT, file="vae"),)),
    NodeRow(
        kinds=("LoraLoaderModelOnly",),
        widgets=(
            Widget(name="lora_name", shape=TEXT, file="lora", strength="strength_model"),
            Widget(name="strength_model", shape=NUMBER),
        ),
    ),
    NodeRow(
        kinds=("LoraLoader",),
        widgets=(
            Widget(name="lora_name", shape=TEXT, file="lora", strength="strength_model"),
            Widget(name="strength_model", shape=NUMBER),
            other("strength_clip", NUMBER, "LoRAs work on the diffusion model alone"),
        ),
    ),
    NodeRow(kinds=("Power Lora Loader (rgthree)",), lists_loras=True),
)

_CONDITIONS = (
    NodeRow(
        kinds=("CLIPTextEncode",),
        widgets=(
            Widget(name="text", shape=TEXT, roles={"positive": "prompt", "negative": "negative_prompt"}),
        ),
    ),
    NodeRow(kinds=("ConditioningZeroOut",), says="without a negative prompt; guidance 1 needs none"),
    NodeRow(
        kinds=("CLIPVisionEncode",),
        widgets=(other("crop", TEXT, "the picture is fitted as in the official code"),),
    ),
    NodeRow(
        kinds=("WanImageToVideo", "WanFirstLastFrameToVideo"),
        widgets=(*_size, _batch),
        task=IMAGE_TO_VIDEO,
    ),
    NodeRow(kinds=("EmptyHunyuanLatentVideo",), widgets=(*_size, _batch), task=TEXT_TO_VIDEO),
    NodeRow(
        kinds=("ModelSamplingSD3", "ModelSamplingSD3Advanced"),
        widgets=(to("shift", NUMBER, "flow_shift"),),
    ),
)

_SAMPLERS = (
    NodeRow(
        kinds=("KSampler",),
        widgets=(to("seed", INT), _steps, _cfg, _solver_widget, _spacing, _denoise),
        samples=True,
    ),
    NodeRow(
        kinds=("KSamplerAdvanced",),
        widgets=(
            other("add_noise", TEXT, "a video always starts from noise"),
            to("noise_seed", INT, "seed"),
            _steps,
            _cfg,
            _solver_widget,
            _spacing,
            to("start_at_step", INT, "start_step"),
            to("end_at_step", INT, "end_step", read=_last_step),
            other("return_with_leftover_noise", TEXT, "what is left of a slice's noise is decoded as it is"),
        ),
        samples=True,
    ),
    NodeRow(
        kinds=("SamplerCustom",),
        widgets=(
            other("add_noise", SWITCH, "a video always starts from noise"),
            to("noise_seed", INT, "seed"),
            _cfg,
        ),
        samples=True,
    ),
    NodeRow(kinds=("SamplerCustomAdvanced",), samples=True, says="it runs what other nodes set"),
    NodeRow(kinds=("KSamplerSelect",), widgets=(_solver_widget,)),
    NodeRow(kinds=("BasicScheduler",), widgets=(_spacing, _steps, _denoise)),
    NodeRow(kinds=("RandomNoise",), widgets=(to("noise_seed", INT, "seed"),)),
    NodeRow(kinds=("CFGGuider",), widgets=(_cfg,)),
    NodeRow(kinds=("BasicGuider",), sets={"guidance_scale": 1.0}, says="one pass a step"),
)

ROWS = (*_LOADERS, *_CONDITIONS, *_SAMPLERS)
