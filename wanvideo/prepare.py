"""From what was asked to plans that can run: probes inputs, models and the machine, and asks the planner."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wanvideo.attention_proof.proof import read_proofs
from wanvideo.attention_proof.prove import prove
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.checks import check_request
from wanvideo.errors import UserError
from wanvideo.fallback import Proofs, next_untried
from wanvideo.hardware import Hardware, probe_hardware
from wanvideo.inputs import inspect_inputs
from wanvideo.plan import GenerationPlan, make_plan
from wanvideo.registry import attention_backends
from wanvideo.request import OPTION_FIELDS, RANDOM_SEED, GenerationRequest, RuntimeOptions

PROJECT = Path(__file__).parents[1]
POCKET = PROJECT / "models" / "pocket"


def prepare(
    request: GenerationRequest,
    options: RuntimeOptions,
    output: Path | None = None,
    *,
    tries_attention: bool = False,
) -> tuple[GenerationPlan, ...]:
    """One plan per variation (`request.count`), with seeds drawn and names chosen. Raises UserError.

    `tries_attention`, for plans that will be carried out: a backend that they would use and that was never
    tried on this card is tried first, which takes some seconds, once.
    """
    _check_output(output or Path(options.output_dir) / "name.mp4")
    facts = inspect_inputs(request)
    check_request(request, options, facts)  # its mistakes are told before what the models folder lacks
    speakers = max(1, len(request.audio))
    models = resolve_models(request.task, request.model, model_folders(options), speakers)
    machine = probe_hardware()
    proofs = _proofs(options.attention, machine, tries_attention)
    first = secrets.randbelow(2**31) if request.seed == RANDOM_SEED else request.seed
    plans = []
    for variation in range(request.count):
        seeded = replace(request, seed=first + variation, count=1)
        file = _output(seeded, options, output, variation)
        plans.append(make_plan(seeded, options, facts, models, machine, file, proofs))
    return tuple(plans)


def _proofs(attention: str, machine: Hardware, tries: bool) -> Proofs:
    """What is known of the backends here, and, if it `tries`, all that the choice of one depends on."""
    proofs, table = read_proofs(machine), attention_backends()
    while tries and machine.device != "cpu":
        row = next_untried(table, attention, machine, proofs)
        if row is None:
            break
        proofs[row.name] = prove(row.name, machine)
    return proofs


def _check_output(output: Path) -> None:
    """Refuse what would fail only after the work is done. Nothing is created."""
    if output.suffix.lower() != ".mp4":
        raise UserError("the output must be named .mp4", value=output.name)
    folder = next((place for place in output.absolute().parents if place.exists()), None)  # no such drive
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError("the output folder cannot be written", value=str(output.parent))


def model_folders(options: RuntimeOptions) -> Sequence[Path]:
    """Where checkpoints are looked for: the chosen folder, then the bundled pocket model.

    The folder that nobody chose is the project's own, from whichever folder the program was started.
    """
    default: str = OPTION_FIELDS["models_dir"].default
    chosen = PROJECT / default if options.models_dir == default else Path(options.models_dir)
    return [chosen, POCKET] if not POCKET.is_relative_to(chosen.resolve()) else [chosen]


def _output(request: GenerationRequest, options: RuntimeOptions, wanted: Path | None, variation: int) -> Path:
    if wanted is not None:
        return wanted if variation == 0 else wanted.with_stem(f"{wanted.stem}_{variation + 1}")
    stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    return Path(options.output_dir) / f"{stamp}_{request.task}_{request.seed}.mp4"
