"""The kinds of diffusion model files that people own: each layout is a row."""

import json

import numpy as np

from tests.checkpoint.synthetic import ggml_blocks, gguf_file, weights
from tests.checkpoint.synthetic.containers import Raw, codes, floats
from tests.checkpoint.synthetic.diffusion_files import GgufKind, Kind, Told, always
from tests.checkpoint.synthetic.weights import Layout, dense


def _file_marker(elements: int, dtype: str = "F8_E4M3") -> dict[str, Raw]:
    return {"scaled_fp8": codes(np.zeros(elements, np.uint8), dtype)}


def _comfy_words(stems: list[str]) -> dict[str, str]:
    layers = {stem: {"format": "float8_e4m3fn"} for stem in stems}
    return {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}


def _mixed(official: str) -> Layout:
    """As a mixed file of ComfyUI: attention in 4 bits, the rest in 8, the last block whole."""
    if official.startswith("blocks.1."):
        return dense("BF16")
    if "self_attn" in official:
        return _COMFY_NVFP4
    return weights.comfy_fp8("e4m3", exact="ffn" in official)


def _quanto_map(qtype: str) -> Told:
    def told(stems: list[str]) -> dict[str, str]:
        layers = dict.fromkeys(stems, {"weights": qtype, "activations": "none"})
        return {"quantization_map.json": json.dumps(layers)}

    return told


_COMFY_NVFP4 = weights.nvfp4(high_first=True, in_tiles=True, extra={".comfy_quant": weights.marker("nvfp4")})
_MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
_LIGHTX2V = {"scale": ".weight_scale", "per": "row"}

SAFETENSORS = {
    "official fp32, t2v": Kind(base="t2v", linear=always(dense("F32")), rest="F32"),
    "official fp32": Kind(linear=always(dense("F32")), rest="F32"),
    "official fp16": Kind(linear=always(dense("F16")), rest="F16"),
    "official bf16": Kind(linear=always(dense("BF16"))),
    **{
        f"prefix {prefix}": Kind(linear=always(dense("F16")), rest="F16", prefix=prefix)
        for prefix in (
            "model.diffusion_model.",
            "diffusion_model.",
            "transformer.",
            "model.",
            "_orig_mod.",
            "model.diffusion_model._orig_mod.",
        )
    },
    "plain e4m3": Kind(linear=always(dense("F8_E4M3")), format="e4m3"),
    "plain e5m2, t2v": Kind(base="t2v", linear=always(dense("F8_E5M2")), rest="F32", format="e5m2"),
    "plain e4m3 everywhere": Kind(linear=always(dense("F8_E4M3")), rest="F8_E4M3", format="e4m3"),
    **{
        f"Kijai scaled {kind}, {elements} in the marker": Kind(
            linear=always(weights.scaled_fp8(kind)),
            rest="F32",
            outside=_file_marker(elements, dtype),
            format=kind,
            scaled=True,
            exact=elements == 2,
        )
        for kind, dtype in (("e4m3", "F8_E4M3"), ("e5m2", "F8_E5M2"))
        for elements in (0, 2)
    },
    "ComfyUI scaled v1, scale_input": Kind(
        linear=always(
            weights.scaled_fp8("e4m3", per="scalar", extra={".scale_input": floats(np.asarray(0.01), "F32")})
        ),
        rest="F16",
        prefix="model.diffusion_model.",
        outside=_file_marker(0),
        format="e4m3",
        scaled=True,
    ),
    "scaled without any marker": Kind(linear=always(weights.scaled_fp8("e4m3")), format="e4m3", scaled=True),
    "ComfyUI v2": Kind(linear=always(weights.comfy_fp8("e4m3")), rest="F16", format="e4m3", scaled=True),
    "ComfyUI v2, e5m2, input_scale, prefix": Kind(
        linear=always(weights.comfy_fp8("e5m2", input_scale=True)),
        prefix="model.diffusion_model.",
        format="e5m2",
        scaled=True,
    ),
    "ComfyUI v2, exact": Kind(
        linear=always(weights.comfy_fp8("e4m3", exact=True)), format="e4m3", scaled=True, exact=True
    ),
    "ComfyUI v2, metadata": Kind(
        linear=always(weights.comfy_fp8("e4m3", marked=False)), words=_comfy_words, format="e4m3", scaled=True
    ),
    "LightX2V fp8": Kind(
        linear=always(weights.scaled_fp8("e4m3", **_LIGHTX2V)),
        format="e4m3",
        scaled=True,  # type: ignore[arg-type]
    ),
    "LightX2V int8": Kind(linear=always(weights.int8_rows), format="int8", scaled=True),
    "NVFP4 of ComfyUI": Kind(linear=always(_COMFY_NVFP4), format="nvfp4", scaled=True),
    "NVFP4 of ModelOpt": Kind(
        linear=always(
            weights.nvfp4(
                high_first=False, in_tiles=False, extra={".input_scale": floats(np.asarray(0.02), "F32")}
            )
        ),
        beside=lambda _: {"hf_quant_config.json": json.dumps(_MODELOPT)},
        format="nvfp4",
        scaled=True,
    ),
    "NVFP4 of LightX2V's kernels": Kind(
        linear=always(weights.nvfp4(high_first=False, in_tiles=True, divides=True)),
        format="nvfp4",
        scaled=True,
    ),
    "NVFP4 without any evidence": Kind(
        linear=always(weights.nvfp4(high_first=False, in_tiles=False)), format="nvfp4", scaled=True
    ),
    "mixed per layer": Kind(linear=_mixed, format="dense", others=("e4m3", "nvfp4"), scaled=True),
    **{
        f"quanto {name}": Kind(
            base="talk",
            linear=always(weights.quanto(kind)),
            rest="BF16",
            beside=_quanto_map(qtype),
            format=kind,
            scaled=True,
        )
        for name, kind, qtype in (("int8", "int8", "qint8"), ("fp8", "e4m3", "qfloat8_e4m3fn"))
    },
    "merged with InfiniteTalk": Kind(
        base="talk",
        linear=always(dense("F16")),
        rest="F16",
        prefix="model.diffusion_model.",
        renames=lambda name: name.replace("audio_proj.", "multitalk_audio_proj."),
    ),
    "merged with InfiniteTalk, scaled": Kind(
        base="talk",
        linear=always(weights.scaled_fp8("e4m3")),
        outside=_file_marker(0),
        renames=lambda name: name.replace("audio_proj.", "multitalk_audio_proj."),
        format="e4m3",
        scaled=True,
    ),
}
INFINITETALK = {
    "fp16": Kind(base="talk", linear=always(dense("F16")), rest="F16"),
    "official bf16": Kind(base="talk", linear=always(dense("BF16"))),
    "scaled fp8": Kind(
        base="talk",
        linear=always(weights.scaled_fp8("e4m3")),
        rest="F16",
        outside=_file_marker(0),
        format="e4m3",
        scaled=True,
    ),
}
GGUF = {
    **{kind: GgufKind(linear=kind) for kind in ggml_blocks.TYPES},
    **{kind: GgufKind(linear=kind) for kind in gguf_file.DENSE},
    "Q8_0, t2v": GgufKind(linear="Q8_0", base="t2v"),
    "Q4_K, prefix": GgufKind(linear="Q4_K", prefix="model.diffusion_model."),
    "Q5_K, flat patches": GgufKind(linear="Q5_K", flat=True),
    "Q6_K, merged": GgufKind(linear="Q6_K", base="talk"),
}
