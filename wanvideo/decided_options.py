"""What the options come to on this machine: dtype, PyTorch's switches, fused projections; with a note for
each option that comes to nothing, or to something else. Pure arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from wanvideo.cards import about_cards
from wanvideo.effective_mode import EffectiveMode, StoredFormat, as_stored_mode
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO, AUTO_NAMES
from wanvideo.geometry import SIZE_STEP, latent_frames
from wanvideo.hardware import Gpu, Hardware
from wanvideo.known_cards import is_assumed
from wanvideo.options import FP16_FAST, RMS_NORM, VAE_AUTO
from wanvideo.registry import AttentionBackend, AttentionPlace, attention_backends, quantization_modes
from wanvideo.request import REQUEST_FIELDS, GenerationRequest, RuntimeOptions
from wanvideo.torch_switches import FP16_ACCUMULATION_SINCE, TorchSwitches, torch_version

TF32_CAPABILITY = (8, 0)  # Ampere brought it
BF16_CAPABILITY = (8, 0)  # and bf16
FP16_CAPABILITY = (7, 0)  # Volta multiplies it on tensor cores
FP32, FP16, BF16 = "fp32", "fp16", "bf16"
MIXED_TYPES = "gguf"  # the format whose files mix several types of weights


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedOptions:
    """`dtype` is "bf16", "fp16" or "fp32", and so is `vae_dtype`, that of the VAE. `notes` are
    sentences without a full stop.
    """

    dtype: str
    vae_dtype: str
    switches: TorchSwitches
    fuse_qkv_projections: bool
    notes: tuple[str, ...]


def without_tuning(options: RuntimeOptions) -> RuntimeOptions:
    """The options themselves, or with `auto_hardware_tuning` off what is plain in the place of "auto": exact
    attention, weights as in the file.
    """
    if options.auto_hardware_tuning:
        return options
    attention, quantization = options.attention, options.quantization
    if attention in AUTO_NAMES:
        attention = next(row.name for row in attention_backends().values() if row.fallback is None)
    if quantization in AUTO_NAMES:
        quantization = as_stored_mode(quantization_modes()).name
    return replace(options, attention=attention, quantization=quantization)


def about_assumed(machine: Hardware) -> Iterator[str]:
    """That nothing was tried on a card that is not here."""
    if is_assumed(machine):
        yield f"{machine.gpus[0].name} is assumed: nothing was tested on it, all that follows is expected"


def decide_options(
    options: RuntimeOptions,
    machine: Hardware,
    backend: AttentionBackend,
    mode: EffectiveMode,
    stored: StoredFormat,
    place: AttentionPlace,
) -> DecidedOptions:
    """`backend` and `mode` run; `stored` is how the file keeps the weights; `place` is that of
    `first_place`. Raises UserError, with `strict`, for a precision that can't be had here.
    """
    dtype = machine.dtype if options.base_precision == AUTO else options.base_precision
    dtype, sums_in_fp16, notes = _precision(dtype, options.strict, machine)
    card = machine.gpus[0] if machine.device != "cpu" else None
    has_tf32 = card is not None and card.compute_capability >= TF32_CAPABILITY
    if options.use_tf32 and not has_tf32:
        notes.append("use_tf32 has no effect without a card of compute capability 8.0 or higher")
    if options.use_cublas_gemm and card is None:
        notes.append("use_cublas_gemm has no effect without an NVIDIA card")
    if options.rms_norm_function != RMS_NORM and dtype == FP32:
        notes.append(f"rms_norm_function {options.rms_norm_function} has no effect in fp32")
    notes += about_cards(options, machine)
    notes += _about_attention(options, backend, place)
    notes += _about_fusing(options, mode, stored)
    vae_dtype, remarks = _vae_precision(options.vae_precision, card)
    notes += remarks
    switches = TorchSwitches(
        fp16_accumulation=sums_in_fp16,
        tf32=options.use_tf32 and has_tf32,
        cublaslt=options.use_cublas_gemm and card is not None,
    )
    return DecidedOptions(
        dtype=dtype,
        vae_dtype=vae_dtype,
        switches=switches,
        fuse_qkv_projections=options.fuse_qkv_projections and not mode.own_cores,
        notes=tuple(notes),
    )


def first_place(
    request: GenerationRequest, options: RuntimeOptions, steps: int, size: tuple[int, int, int]
) -> AttentionPlace:
    """The first block and step of a window of `size` (frames, height, width), in pixels."""
    frames, height, width = size
    voices = len(request.audio) if REQUEST_FIELDS["audio"].is_for(request.task) else 0
    return AttentionPlace(
        steps=steps,
        frames=latent_frames(frames),
        frame_tokens=(height // SIZE_STEP) * (width // SIZE_STEP),
        speakers=max(1, voices),
        per_block_mean=options.per_block_mean,
    )


def _precision(asked: str, strict: bool, machine: Hardware) -> tuple[str, bool, list[str]]:
    """(dtype, whether products of fp16 are summed in fp16, notes)."""
    if asked != FP16_FAST:
        return asked, False, []
    reason = _no_fp16_sums(machine)
    if reason is None:
        return FP16, True, []
    if strict:
        raise UserError(f"base_precision {asked} can't run here: {reason}", fix="Choose fp16 or auto.")
    return FP16, False, [f"{asked}: {reason}; it runs as fp16"]


def _vae_precision(asked: str, card: Gpu | None) -> tuple[str, list[str]]:
    """(dtype, notes). fp16 has eight times the precision of bf16; where its range is too small, what was
    decoded is no number, and `quality` sees to it.
    """
    if asked == VAE_AUTO:
        multiplies = card is not None and card.compute_capability >= FP16_CAPABILITY
        return FP16 if multiplies else FP32, []
    if asked == FP16 and card is None:
        return asked, [f"vae_precision {FP16} takes more than ten times as long on a CPU as {FP32}"]
    if asked == BF16 and card is not None and card.compute_capability < BF16_CAPABILITY:
        return FP32, [f"vae_precision {asked} needs compute capability 8.0 or higher; {FP32} runs"]
    return asked, []


def _no_fp16_sums(machine: Hardware) -> str | None:
    if machine.device == "cpu":
        return "sums in fp16 need an NVIDIA card"
    if torch_version() >= FP16_ACCUMULATION_SINCE:
        return None
    version, since = (".".join(map(str, item)) for item in (torch_version(), FP16_ACCUMULATION_SINCE))
    return f"PyTorch {version} has no sums in fp16, {since} has them"


def _about_attention(
    options: RuntimeOptions, backend: AttentionBackend, place: AttentionPlace
) -> Iterator[str]:
    if options.per_block_mean != AUTO and not backend.has_block_mean:
        yield f"per_block_mean has no effect with {backend.name}, it belongs to SageAttention 3"
    if (remark := backend.remark(place)) is not None:
        yield f"{backend.name}: {remark}"


def _about_fusing(options: RuntimeOptions, mode: EffectiveMode, stored: StoredFormat) -> Iterator[str]:
    if not options.fuse_qkv_projections:
        return
    if mode.own_cores and mode.mode.cores is not None:
        title = mode.mode.cores.title
        yield f"fuse_qkv_projections has no effect: each weight has its own scale, {title} take one a product"
    elif stored.others or stored.weights == MIXED_TYPES:
        yield "fuse_qkv_projections: only where query, key and value are stored alike; the log counts others"
