"""The WanVideo wrapper's nodes that load and place models: their widgets in order.

A widget that came in a later version stands at the end, where a file of an older one has nothing.
"""

from wanvideo.options import COMPILE_BLOCKS
from wanvideo.request import TALK
from wanvideo.workflow.rows import (
    INT,
    NUMBER,
    NUMBERS,
    SWITCH,
    TEXT,
    NodeRow,
    Widget,
    by_table,
    other,
    to,
    usual,
)

ENCODER = "each encoder runs in the precision that the app chose for it"
LEAVES = "encoders leave the card when their work is done"
COMPILING = "blocks are compiled by inductor, for every size"
CACHING = "a step cache works on all steps but the first and the last"


_VAE_TYPES = {name: name for name in ("bf16", "fp16", "fp32")}
_VAE_TOLD = "the VAE runs in bf16, fp16 or fp32 here"
_SPEECH_ENCODER = (other("base_precision", TEXT, ENCODER), other("load_device", TEXT, LEAVES))
_LOADERS = (
    NodeRow(
        kinds=("WanVideoModelLoader",),
        widgets=(
            to("model", TEXT, file="transformer"),
            to("base_precision", TEXT),
            to("quantization", TEXT),
            to("load_device", TEXT),
            to("attention_mode", TEXT, "attention"),
            to("rms_norm_function", TEXT),
        ),
    ),
    NodeRow(
        kinds=("WanVideoVAELoader",),
        widgets=(
            Widget(name="model_name", shape=TEXT, file="vae"),
            to("precision", TEXT, "vae_precision", read=by_table(_VAE_TYPES, _VAE_TOLD)),
            other("use_cpu_cache", SWITCH, "the decoder keeps what it needs on its device"),
            other("verbose", SWITCH, "only what is logged"),
        ),
    ),
    NodeRow(
        kinds=("LoadWanVideoT5TextEncoder",),
        widgets=(
            Widget(name="model_name", shape=TEXT, file="text_encoder"),
            other("precision", TEXT, ENCODER),
            other("load_device", TEXT, LEAVES),
            other("quantization", TEXT, "the text encoder runs as its file has it"),
        ),
    ),
    NodeRow(
        kinds=("LoadWanVideoClipTextEncoder",),
        widgets=(
            Widget(name="model_name", shape=TEXT, file="image_encoder"),
            other("precision", TEXT, ENCODER),
            other("load_device", TEXT, LEAVES),
        ),
    ),
    NodeRow(
        kinds=("Wav2VecModelLoader",),
        widgets=(Widget(name="model", shape=TEXT, file="speech_encoder"), *_SPEECH_ENCODER),
    ),
    NodeRow(
        kinds=("DownloadAndLoadWav2VecModel",),
        widgets=(other("model", TEXT, "the app takes the speech encoder that is here"), *_SPEECH_ENCODER),
    ),
    NodeRow(
        kinds=("MultiTalkModelLoader",),
        widgets=(
            Widget(name="model", shape=TEXT, file="infinitetalk"),
            other("base_precision", TEXT, "it runs in the base precision of the model"),
        ),
        task=TALK,
    ),
)

_SWAP = (
    NodeRow(
        kinds=("WanVideoBlockSwap",),
        widgets=(
            to("blocks_to_swap", INT),
            to("offload_img_emb", SWITCH),
            to("offload_txt_emb", SWITCH),
            other("use_non_blocking", SWITCH, "Copy ahead does this; it is on unless you turn it off"),
            to("vace_blocks_to_swap", INT),
            to("prefetch_blocks", INT),
            to("block_swap_debug", SWITCH, "debug_mode"),
        ),
    ),
    NodeRow(
        kinds=("WanVideoEnhancedBlockSwap",),
        widgets=(
            to("blocks_to_swap", INT),
            to("enable_cuda_optimization", SWITCH),
            to("enable_dram_optimization", SWITCH),
            to("auto_hardware_tuning", SWITCH),
            to("vram_threshold_percent", NUMBER),
            to("num_cuda_streams", INT),
            to("bandwidth_target", NUMBER),
            to("offload_txt_emb", SWITCH),
            to("offload_img_emb", SWITCH),
            to("vace_blocks_to_swap", INT),
            to("debug_mode", SWITCH),
            to("prefetch_blocks", INT),
        ),
    ),
    NodeRow(
        kinds=("WanVideoVRAMManagement",),
        widgets=(other("offload_percent", NUMBER, "block swap is planned from the card's memory instead"),),
    ),
    NodeRow(
        kinds=("WanVideoTorchCompileSettings",),
        widgets=tuple(
            other(name, shape, COMPILING)
            for name, shape in (
                ("backend", TEXT),
                ("fullgraph", SWITCH),
                ("mode", TEXT),
                ("dynamic", SWITCH),
                ("dynamo_cache_size_limit", INT),
                ("compile_transformer_blocks_only", SWITCH),
                ("dynamo_recompile_limit", INT),
                ("force_parameter_static_shapes", SWITCH),
                ("allow_unmerged_lora_compile", SWITCH),
            )
        ),
        sets={"compile": COMPILE_BLOCKS},
    ),
    NodeRow(
        kinds=("WanVideoSetBlockSwap", "WanVideoSetLoRAs", "WanVideoSetAttentionModeOverride"),
        says="it hands settings of other nodes to the model",
    ),
)

_LORA_TAIL = (
    other("low_mem_load", SWITCH, "LoRAs are never copied into the weights"),
    other("merge_loras", SWITCH, "LoRAs are computed beside the weights, never merged"),
)
_LORAS = (
    NodeRow(
        kinds=("WanVideoLoraSelect",),
        widgets=(
            Widget(name="lora", shape=TEXT, file="lora", strength="strength"),
            Widget(name="strength", shape=NUMBERS),
            *_LORA_TAIL,
        ),
    ),
    NodeRow(
        kinds=("WanVideoLoraSelectByName",),
        widgets=(
            Widget(name="lora_name", shape=TEXT, file="lora", strength="strength"),
            Widget(name="strength", shape=NUMBERS),
            *_LORA_TAIL,
        ),
    ),
    NodeRow(
        kinds=("WanVideoLoraSelectMulti",),
        widgets=(
            *(
                widget
                for i in range(5)
                for widget in (
                    Widget(name=f"lora_{i}", shape=TEXT, file="lora", strength=f"strength_{i}"),
                    Widget(name=f"strength_{i}", shape=NUMBERS),
                )
            ),
            *_LORA_TAIL,
        ),
    ),
)

_CACHED_STEPS = (other("start_step", INT, CACHING), other("end_step", INT, CACHING))
_CACHE_DEVICE = other("cache_device", TEXT, "what is kept lies on the card, and the plan counts it")
_STEP_CACHES = (
    NodeRow(
        kinds=("WanVideoTeaCache",),
        widgets=(
            to("rel_l1_thresh", NUMBER, "step_cache_threshold"),
            *_CACHED_STEPS,
            _CACHE_DEVICE,
            usual("use_coefficients", SWITCH, True, "the app has TeaCache with its coefficients only"),
            other("mode", TEXT, "the app has the coefficients of the older mode only"),
        ),
        sets={"step_cache": "teacache"},
    ),
    NodeRow(
        kinds=("WanVideoMagCache",),
        widgets=(
            to("magcache_thresh", NUMBER, "step_cache_threshold"),
            other("magcache_K", INT, "at most as many steps are left out as its authors recommend"),
            *_CACHED_STEPS,
            _CACHE_DEVICE,
        ),
        sets={"step_cache": "magcache"},
    ),
)

_LACKING = (
    NodeRow(kinds=("WanVideoEasyCache",), lacks="the app has TeaCache, MagCache and the first-block cache"),
    NodeRow(
        kinds=("WanVideoContextOptions",), lacks="long videos are made by Talk's windows; there are no others"
    ),
    NodeRow(kinds=("WanVideoApplyNAG",), lacks="the app has no normalized attention guidance"),
    NodeRow(
        kinds=("WanVideoSLG", "WanVideoEnhanceAVideo", "WanVideoExperimentalArgs", "WanVideoFreeInitArgs"),
        lacks="the app has no such change of the model",
    ),
    NodeRow(
        kinds=("WanVideoVACEEncode", "WanVideoVACEModelSelect", "WanVideoExtraModelSelect"),
        lacks="the app has no VACE and no other added model",
    ),
)

ROWS = (*_LACKING, *_LOADERS, *_SWAP, *_LORAS, *_STEP_CACHES)
