"""From what was asked to plans that can run: probes inputs, models and the machine, and asks the planner."""

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wanvideo.checkpoint.catalog import ModelSet, resolve_models
from wanvideo.checkpoint.lora_files import with_loras
from wanvideo.checkpoint.separator_file import with_vocal_separator
from wanvideo.checks import check_request
from wanvideo.decided_options import without_tuning
from wanvideo.downloads.added_folders import added_folders, model_subfolders
from wanvideo.downloads.catalog import words_for_bytes
from wanvideo.effective_mode import next_untried_mode
from wanvideo.errors import UserError
from wanvideo.fallback import next_untried
from wanvideo.hardware import Hardware, probe_hardware
from wanvideo.inputs import inspect_inputs
from wanvideo.known_cards import is_assumed
from wanvideo.memory.constants import WINDOW_BYTES_PER_PIXEL
from wanvideo.memory.kept import MachineKnowledge, read_calibration
from wanvideo.plan import GenerationPlan, make_plan
from wanvideo.proof.kept import AttentionProof, MachineProofs, MatmulProof, read_proofs
from wanvideo.proof.prove import prove_attention, prove_compiled, prove_mode
from wanvideo.proof.suspects import Suspect, with_suspects
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import OPTION_FIELDS, RANDOM_SEED, REQUEST_FIELDS, GenerationRequest, RuntimeOptions
from wanvideo.ways import wanted_mode

PROJECT = Path(__file__).parents[1]
POCKET = PROJECT / "models" / "pocket"
KEPT_FREE_BYTES = 200 << 20  # of the output folder's disk, for the queue, its log and the system


def prepare(
    request: GenerationRequest,
    options: RuntimeOptions,
    output: Path | None = None,
    *,
    tries_kernels: bool = False,
    machine: Hardware | None = None,
    suspects: Sequence[Suspect] = (),
) -> tuple[GenerationPlan, ...]:
    """One plan per variation (`request.count`), with seeds drawn and names chosen. Raises UserError.

    `tries_kernels`, for plans that will be carried out: an attention backend or a fast quantization mode that
    they would use and that was never tried on this card is tried first, which takes some seconds, once.
    `machine`: the one to plan for, if not this one as it is. `suspects` count as if their trial had failed.
    """
    _check_output(output or Path(options.output_dir) / "name.mp4")
    facts = inspect_inputs(request)
    check_request(request, options, facts)  # its mistakes are told before what the models folder lacks
    speakers = max(1, len(request.audio))
    folders = model_folders(options)
    models = resolve_models(request.task, request.model, folders, speakers)
    models = with_loras(models, request.loras, folders)
    if request.separate_vocals and request.audio and REQUEST_FIELDS["separate_vocals"].is_for(request.task):
        models = with_vocal_separator(models, folders)
    machine = machine or probe_hardware()
    known = _knowledge(options, models, machine, tries_kernels, suspects)
    first = secrets.randbelow(2**31) if request.seed == RANDOM_SEED else request.seed
    plans = []
    for variation in range(request.count):
        seeded = replace(request, seed=first + variation, count=1)
        file = _output(seeded, options, output, variation)
        plan = make_plan(seeded, options, facts, models, machine, file, known)
        if tries_kernels and known is not None and plan.compile.needs_trial:
            known.compiled[plan.quantization] = prove_compiled(plan.quantization, machine)
            plan = make_plan(seeded, options, facts, models, machine, file, known)
        plans.append(plan)
    _check_room(plans)
    return tuple(plans)


def _knowledge(
    options: RuntimeOptions,
    models: ModelSet,
    machine: Hardware,
    tries: bool,
    suspects: Sequence[Suspect] = (),
) -> MachineKnowledge | None:
    """None for a card that is not here: nothing can be known of it."""
    if is_assumed(machine):
        return None
    proofs = _proofs(without_tuning(options), models, machine, tries, suspects)
    return MachineKnowledge(
        attention=proofs.attention,
        quantization=proofs.quantization,
        compiled=proofs.compiled,
        calibration=read_calibration(machine),
    )


def _proofs(
    options: RuntimeOptions,
    models: ModelSet,
    machine: Hardware,
    tries: bool,
    suspects: Sequence[Suspect] = (),
) -> MachineProofs:
    """What is known of the kernels here, and, if it `tries`, all that the choice among them depends on."""
    proofs = with_suspects(read_proofs(machine), suspects)
    if tries and machine.device != "cpu":
        try_attention(options, machine, proofs.attention)
        _try_modes(options, models, machine, proofs.quantization)
    return proofs


def try_attention(options: RuntimeOptions, machine: Hardware, proofs: dict[str, AttentionProof]) -> None:
    """Add to `proofs` all that the choice of the attention depends on and that was never tried."""
    table = attention_backends()
    while (row := next_untried(table, options.attention, machine, proofs)) is not None:
        proofs[row.name] = prove_attention(row.name, machine)


def _try_modes(
    options: RuntimeOptions, models: ModelSet, machine: Hardware, proofs: dict[str, MatmulProof]
) -> None:
    table, wanted = quantization_modes(), wanted_mode(options, models, machine)
    stored = models.transformer.stored
    while (row := next_untried_mode(table, wanted, machine, stored, proofs)) is not None:
        proofs[row.name] = prove_mode(row, machine)


def _check_output(output: Path) -> None:
    """Refuse what would fail only after the work is done. Nothing is created."""
    if output.suffix.lower() != ".mp4":
        raise UserError("the output must be named .mp4", value=output.name)
    folder = _existing(output)
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError("the output folder cannot be written", value=str(output.parent))


def _check_room(plans: Sequence[GenerationPlan]) -> None:
    """Refuse videos that the disk of the output folder can't hold, their windows counted too."""
    pixels = sum(plan.width * plan.height * _written_frames(plan) for plan in plans)
    needed, folder = int(2 * pixels * WINDOW_BYTES_PER_PIXEL), _existing(plans[0].output)
    free = shutil.disk_usage(folder).free if folder else 0
    if needed + KEPT_FREE_BYTES > free:
        fix = "Free some space, or choose another output folder, a smaller size or a shorter video."
        problem = f"the disk of the output folder has {words_for_bytes(free)} free"
        raise UserError(f"{problem} and this takes {words_for_bytes(needed)}", fix=fix)


def _written_frames(plan: GenerationPlan) -> int:
    old = 0 if plan.old is None else plan.old.facts.frames
    return old + sum(window.frames for window in plan.windows)


def _existing(output: Path) -> Path | None:
    """The nearest folder above that is there; None on a drive that is not."""
    return next((place for place in output.absolute().parents if place.exists()), None)


def model_folders(options: RuntimeOptions) -> Sequence[Path]:
    """Where checkpoints are looked for: the chosen folder, the added ones, then the bundled pocket model.

    The folder that nobody chose is the project's own, from whichever folder the program was started.
    """
    default: str = OPTION_FIELDS["models_dir"].default
    chosen = PROJECT / default if options.models_dir == default else Path(options.models_dir)
    whole = chosen.resolve()
    others = [*model_subfolders(added_folders()), POCKET]
    return [chosen, *(folder for folder in others if not folder.is_relative_to(whole))]


def _output(request: GenerationRequest, options: RuntimeOptions, wanted: Path | None, variation: int) -> Path:
    if wanted is not None:
        return wanted if variation == 0 else wanted.with_stem(f"{wanted.stem}_{variation + 1}")
    stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    return Path(options.output_dir) / f"{stamp}_{request.task}_{request.seed}.mp4"
