"""The WanVideo wrapper's nodes that encode, sample and decode: their widgets in order.

A widget that came in a later version stands at the end, where a file of an older one has nothing.
"""

from typing import Any

from wanvideo.defaults import SPEECH_FPS
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO
from wanvideo.workflow.rows import (
    INT,
    NUMBER,
    NUMBERS,
    SWITCH,
    TEXT,
    Leave,
    NodeRow,
    Widget,
    by_table,
    other,
    to,
    usual,
    when_on,
)
from wanvideo.workflow.wrapper_nodes import ENCODER, LEAVES

_TILES = "tiles are chosen by the memory that is free"


def _speech_rate(value: Any) -> Any:
    if value == SPEECH_FPS:
        raise Leave("what speech is always made with")
    raise UserError("fps must be 25 with speech", value=value)


def _colour(value: Any) -> float:
    """All methods are the app's own one; only off is off."""
    return {"disabled": 0.0}.get(str(value), 1.0)


def _end(value: Any) -> Any:
    if value == -1:
        raise Leave("to the end, as usual")
    return value


_SIZE = (to("width", INT), to("height", INT), to("num_frames", INT))

_PROMPT = (to("positive_prompt", TEXT, "prompt"), to("negative_prompt", TEXT))
_CACHED = other("use_disk_cache", SWITCH, "prompts are always kept on disk")
_DEVICE = other("device", TEXT, "the text encoder runs where memory allows")
_TEXTS = (
    NodeRow(
        kinds=("WanVideoTextEncode",),
        widgets=(*_PROMPT, other("force_offload", SWITCH, LEAVES), _CACHED, _DEVICE),
    ),
    NodeRow(
        kinds=("WanVideoTextEncodeCached",),
        widgets=(
            Widget(name="model_name", shape=TEXT, file="text_encoder"),
            other("precision", TEXT, ENCODER),
            *_PROMPT,
            other("quantization", TEXT, "the text encoder runs as its file has it"),
            _CACHED,
            _DEVICE,
        ),
    ),
    NodeRow(kinds=("WanVideoTextEmbedBridge",), says="it hands prompts on"),
)

_FULL = "pictures are always used at full strength"
_PICTURES = (
    NodeRow(
        kinds=("WanVideoClipVisionEncode",),
        widgets=(
            usual("strength_1", NUMBER, 1.0, _FULL),
            usual("strength_2", NUMBER, 1.0, _FULL),
            other("crop", TEXT, "the picture is fitted as in the official code"),
            other("combine_embeds", TEXT, "there is one picture"),
            other("force_offload", SWITCH, LEAVES),
            usual("tiles", INT, 0, "the picture is not encoded in tiles"),
            other("ratio", NUMBER, "only with tiles"),
        ),
    ),
    NodeRow(
        kinds=("WanVideoImageToVideoEncode",),
        widgets=(
            *_SIZE,
            usual("noise_aug_strength", NUMBER, 0.0, "no noise is added to the picture"),
            usual("start_latent_strength", NUMBER, 1.0, _FULL),
            usual("end_latent_strength", NUMBER, 1.0, _FULL),
            other("force_offload", SWITCH, LEAVES),
            other("fun_or_fl2v_model", SWITCH, "what the model is, is read from its file"),
            to("tiled_vae", SWITCH, "vae_tiling", read=when_on("on", _TILES)),
        ),
        task=IMAGE_TO_VIDEO,
    ),
    NodeRow(kinds=("WanVideoEmptyEmbeds",), widgets=_SIZE, task=TEXT_TO_VIDEO),
    NodeRow(
        kinds=("WanVideoImageToVideoMultiTalk",),
        widgets=(
            to("width", INT),
            to("height", INT),
            to("frame_window_size", INT, "window_frames"),
            to("motion_frame", INT, "motion_frames"),
            to("force_offload", SWITCH),
            to("colormatch", TEXT, "color_correction", read=_colour),
            to("tiled_vae", SWITCH, "vae_tiling", read=when_on("on", _TILES)),
            other("mode", TEXT, "the loop is always InfiniteTalk's"),
            other("output_path", TEXT, "finished windows are always kept on disk"),
        ),
        task=TALK,
    ),
)

_SPEECH = (
    NodeRow(
        kinds=("MultiTalkWav2VecEmbeds",),
        widgets=(
            other("normalize_loudness", SWITCH, "the model always hears an even loudness"),
            other(
                "num_frames", INT, "the most frames; the video is as long as the speech, or as Seconds says"
            ),
            to("fps", NUMBER, read=_speech_rate),
            usual("audio_scale", NUMBER, 1.0, "speech is always used at full strength"),
            to("audio_cfg_scale", NUMBER, "audio_guidance_scale"),
            to(
                "multi_audio_type",
                TEXT,
                "audio_order",
                read=by_table({"para": "together", "add": "sequence"}, "the order of speakers is unknown"),
            ),
            usual("add_noise_floor", SWITCH, False, "no noise is added to the speech"),
            usual("smooth_transients", SWITCH, False, "the speech is not filtered"),
        ),
        task=TALK,
        speaks=True,
    ),
    NodeRow(kinds=("MultiTalkSilentEmbeds",), widgets=(to("num_frames", INT),), task=TALK),
)

_FIRST = (
    to("steps", INT, "num_inference_steps"),
    to("cfg", NUMBERS, "guidance_scale"),
    to("shift", NUMBER, "flow_shift"),
    to("seed", INT),
    to("force_offload", SWITCH, weak=True),
    to("scheduler", TEXT, "sampler"),
    to("riflex_freq_index", INT),
)
_BATCHED = other("batched_cfg", SWITCH, "the passes of a step run one after the other")
_ROPE = other("rope_function", TEXT, "there is one way to compute it")
_NOISE = other("add_noise_to_samples", SWITCH, "a source video always gets its noise")
_SLICE = (to("start_step", INT), to("end_step", INT, read=_end))
_SAMPLERS = (
    NodeRow(
        kinds=("WanVideoSampler",),
        widgets=(
            *_FIRST,
            to("denoise_strength", NUMBER),
            _BATCHED,
            _ROPE,
            *_SLICE,
            _NOISE,
            to("use_tf32", SWITCH),
            to("use_cublas_gemm", SWITCH),
            to("force_contiguous_tensors", SWITCH),
            to("fuse_qkv_projections", SWITCH),
        ),
        samples=True,
    ),
    NodeRow(
        kinds=("WanVideoDecode",),
        widgets=(
            to("enable_vae_tiling", SWITCH, "vae_tiling", read=when_on("on", _TILES)),
            *(other(name, INT, _TILES) for name in ("tile_x", "tile_y", "tile_stride_x", "tile_stride_y")),
            other("normalization", TEXT, "colours are those that the VAE makes"),
        ),
    ),
)

ROWS = (*_TEXTS, *_PICTURES, *_SPEECH, *_SAMPLERS)
