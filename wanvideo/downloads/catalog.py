"""The files this project knows by name, and recipes: sets of them that make one task work.

A hash stands here only where it is certain; otherwise the hub's own record counts when the file is fetched.
`confirmed=False` marks a place that nobody has checked against the hub; its size is about right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from wanvideo.checkpoint.recognise import LORA, VOCAL_SEPARATOR

TOKENIZER = "tokenizer"
COMFY = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
KIJAI = "Kijai/WanVideo_comfy"
KIJAI_FP8 = "Kijai/WanVideo_comfy_fp8_scaled"


def words_for_bytes(size: int) -> str:
    """16.6 GB, 253.8 MB, in thousands as disks and the hub count."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """One file of the hub.

    `component` as in CheckpointFacts, or lora, tokenizer or vocal_separator; `task_hint` and `dim` tell which
    other files do the same work. `bytes` is exact when the file is `confirmed`. `folder` is below the models
    folder. `note` is a sentence for people.
    """

    name: str
    repository: str
    path: str
    component: str
    bytes: int
    licence: str
    folder: str
    revision: str = "main"
    sha256: str | None = None
    dim: int | None = None
    task_hint: str | None = None
    confirmed: bool = True
    note: str = ""

    @property
    def file_name(self) -> str:
        """What it is called on disk: as on the hub."""
        return PurePosixPath(self.path).name

    @property
    def words(self) -> str:
        """In one line: what it is, from where, how large, under which licence."""
        about = f"{self.file_name} from {self.repository}, {words_for_bytes(self.bytes)}, {self.licence}"
        note = f"; {self.note}" if self.note else ""
        return about + note + ("" if self.confirmed else "; NOT CONFIRMED: its place was never checked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Files that belong together, and the settings they are meant for: partial `request` and `options`, as in
    a preset. `task` is None for what serves a task beside its model.
    """

    name: str
    title: str
    files: tuple[KnownFile, ...]
    task: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def bytes(self) -> int:
        """All its files together."""
        return sum(file.bytes for file in self.files)

    @property
    def licences(self) -> str:
        """Each licence once."""
        return ", ".join(dict.fromkeys(file.licence for file in self.files))


I2V_480P = KnownFile(
    name="i2v-480p-fp8",
    repository=KIJAI_FP8,
    path="I2V/Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors",
    component="transformer",
    bytes=16_643_349_018,
    licence="Apache-2.0",
    folder="diffusion_models",
    sha256="2ff922282cd84589702e6e8c26e083d1160bfc2b217dd44e1ae2688441dc495d",
    dim=5120,
    task_hint="i2v",
)
T2V_1_3B = KnownFile(
    name="t2v-1.3b",
    repository=COMFY,
    path="split_files/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors",
    component="transformer",
    bytes=2_838_303_560,
    licence="Apache-2.0",
    folder="diffusion_models",
    sha256="be531024cd9018cb5b48c40cfbb6a6191645b1c792eb8bf4f8c1c6e10f924dc5",
    dim=1536,
    task_hint="t2v",
)
INFINITETALK = KnownFile(
    name="infinitetalk-single",
    repository=KIJAI,
    path="InfiniteTalk/Wan2_1-InfiniTetalk-Single_fp16.safetensors",
    component="infinitetalk",
    bytes=5_125_258_232,
    licence="Apache-2.0",
    folder="diffusion_models",
    dim=5120,
    task_hint="talk",
)
INFINITETALK_MULTI = KnownFile(
    name="infinitetalk-multi",
    repository=KIJAI,
    path="InfiniteTalk/Wan2_1-InfiniteTalk-Multi_fp16.safetensors",
    component="infinitetalk",
    bytes=5_124_000_000,
    licence="Apache-2.0",
    folder="diffusion_models",
    dim=5120,
    task_hint="talk",
    confirmed=False,
    note="for two speakers",
)
INFINITETALK_FP8 = KnownFile(
    name="infinitetalk-single-fp8",
    repository=KIJAI_FP8,
    path="InfiniteTalk/Wan2_1-InfiniteTalk-Single_fp8_e4m3fn_scaled_KJ.safetensors",
    component="infinitetalk",
    bytes=2_713_548_210,
    licence="Apache-2.0",
    folder="diffusion_models",
    dim=5120,
    task_hint="talk",
)
VAE = KnownFile(
    name="vae",
    repository=COMFY,
    path="split_files/vae/wan_2.1_vae.safetensors",
    component="vae",
    bytes=253_815_318,
    licence="Apache-2.0",
    folder="vae",
    sha256="2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b",
    dim=96,
)
UMT5 = KnownFile(
    name="umt5-fp8",
    repository=COMFY,
    path="split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    component="text_encoder",
    bytes=6_735_906_897,
    licence="Apache-2.0",
    folder="text_encoders",
    sha256="c3355d30191f1f066b26d93fba017ae9809dce6c627dda5f6a66eaa651204f68",
    dim=4096,
    note="its tokenizer is inside",
)
CLIP = KnownFile(
    name="clip-vision-h",
    repository=COMFY,
    path="split_files/clip_vision/clip_vision_h.safetensors",
    component="image_encoder",
    bytes=1_264_219_396,
    licence="MIT",
    folder="clip_vision",
    sha256="64a7ef761bfccbadbaa3da77366aac4185a6c58fa5de5f589b42a65bcc21f161",
    dim=1280,
)
WAV2VEC2 = KnownFile(
    name="wav2vec2",
    repository="Kijai/wav2vec2_safetensors",
    path="wav2vec2-chinese-base_fp16.safetensors",
    component="speech_encoder",
    bytes=190_115_368,
    licence="MIT",
    folder="wav2vec2",
    sha256="000813e441020f18cff844c969d2d5d4adc2a5ce46b2db1f23950b05d88805b4",
    dim=768,
)
DISTILL_LORA = KnownFile(
    name="lightx2v-4step-lora",
    repository=KIJAI,
    path="Lightx2v/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
    component=LORA,
    bytes=738_005_744,
    licence="Apache-2.0",
    folder="loras",
    sha256="85c4a61c30e0497aa44b91d93a893b624708461a56fe5485183b28fa07e2dfb3",
)
UMT5_TOKENIZER = KnownFile(
    name="umt5-tokenizer",
    repository="Wan-AI/Wan2.1-T2V-1.3B",
    path="google/umt5-xxl/spiece.model",
    component=TOKENIZER,
    bytes=4_548_313,
    licence="Apache-2.0",
    folder="text_encoders/umt5-xxl",
    sha256="e3909a67b780650b35cf529ac782ad2b6b26e6d1f849d3fbb6a872905f452458",
    note="for text encoder files that bring none",
)
MELBAND = KnownFile(
    name="melband",
    repository="Kijai/MelBandRoFormer_comfy",
    path="MelBandRoformer_fp16.safetensors",
    component=VOCAL_SEPARATOR,
    bytes=456_000_000,
    licence="see its page on the hub",
    folder="diffusion_models",
    dim=384,
    confirmed=False,
)
FILES: Mapping[str, KnownFile] = {
    file.name: file
    for file in (
        I2V_480P,
        T2V_1_3B,
        INFINITETALK,
        INFINITETALK_MULTI,
        INFINITETALK_FP8,
        VAE,
        UMT5,
        CLIP,
        WAV2VEC2,
        DISTILL_LORA,
        UMT5_TOKENIZER,
        MELBAND,
    )
}
