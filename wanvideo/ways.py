"""Which attention and which quantization compute a job, in which precision."""

from dataclasses import dataclass, replace

from wanvideo.cache_folder import REQUANTIZED, cache_folder
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.decided_options import DecidedOptions, about_assumed, decide_options, without_tuning
from wanvideo.effective_mode import EffectiveMode, WantedMode, effective_mode, makes_denser
from wanvideo.fallback import choose
from wanvideo.hardware import Hardware
from wanvideo.model_cache import WEIGHTS_SHARE
from wanvideo.proof.kept import MachineProofs
from wanvideo.registry import (
    AttentionBackend,
    AttentionPlace,
    QuantizationMode,
    attention_backends,
    quantization_modes,
)
from wanvideo.request import AS_STORED, RuntimeOptions

DENSE_BYTES = 2  # of a weight in bf16 or fp16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the models compute; `notes` are sentences without a full stop."""

    backend: AttentionBackend
    mode: EffectiveMode
    decided: DecidedOptions
    notes: tuple[str, ...]


def decide_ways(
    options: RuntimeOptions,
    models: ModelSet,
    machine: Hardware,
    proofs: MachineProofs | None,
    place: AttentionPlace,
) -> Ways:
    """`proofs` tells how trials went on this machine, `place` is that of `first_place`. Raises UserError for
    an unknown name, and with `strict` for what can't run here.
    """
    notes, tuned = list(about_assumed(machine)), without_tuning(options)
    table, known = attention_backends(), proofs.attention if proofs else None
    backend = choose(table, tuned.attention, "attention", machine, options.strict, notes, known)
    mode = _quantization(tuned, models, machine, proofs)
    decided = decide_options(options, machine, backend, mode, models.transformer.stored, place)
    return Ways(
        backend=backend,
        mode=mode,
        decided=decided,
        notes=(*notes, *mode.notes, *decided.notes),
    )


def wanted_mode(options: RuntimeOptions, models: ModelSet, machine: Hardware) -> WantedMode:
    """What was asked of the quantization, and whether the models need any on this machine."""
    dense = sum(part.num_parameters for part in _quantized_parts(models)) * DENSE_BYTES
    card = machine.gpus[0].total_bytes if machine.gpus else 0
    return WantedMode(
        name=options.quantization,
        strict=options.strict,
        as_stored=options.requantize == AS_STORED,
        fits_dense=dense <= card * WEIGHTS_SHARE,
    )


def _quantized_parts(models: ModelSet) -> list[CheckpointFacts]:
    return [part for part in (models.transformer, models.audio) if part is not None]


def _quantization(
    options: RuntimeOptions, models: ModelSet, machine: Hardware, proofs: MachineProofs | None
) -> EffectiveMode:
    """The mode that runs, with the size of what is kept of it on disk among its notes."""
    table, wanted = quantization_modes(), wanted_mode(options, models, machine)
    known = proofs.quantization if proofs else None
    found = effective_mode(table, wanted, machine, models.transformer.stored, known)
    size = requantized_bytes(options, models, found.mode)
    if not size:
        return found
    kept = f"{size / 1e9:.1f} GB in {cache_folder(REQUANTIZED)}"
    return replace(found, notes=(*found.notes, f"the 4-bit weights are kept for the next time: {kept}"))


def requantized_bytes(options: RuntimeOptions, models: ModelSet, mode: QuantizationMode) -> int:
    """Of weights that become denser and are kept on disk."""
    if options.requantize == AS_STORED:
        return 0
    table = quantization_modes()
    denser = (part for part in _quantized_parts(models) if makes_denser(table, mode, part.stored))
    return sum(part.bytes_in(mode) for part in denser)
