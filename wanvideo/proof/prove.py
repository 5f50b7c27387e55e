"""Shows whether a row works on this machine, once for each set of versions."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wanvideo.hardware import Hardware
from wanvideo.proof.isolated import Ending, run_isolated, why_it_failed
from wanvideo.proof.kept import (
    ATTENTION,
    HEAD_DIM,
    QUANTIZATION,
    AttentionProof,
    CompileProof,
    MatmulProof,
    Trial,
    compile_trial_of,
    read_proof,
    trial_of,
    write_proof,
)
from wanvideo.proof.versions import versions_of, versions_of_blocks
from wanvideo.registry import QuantizationMode

log = logging.getLogger(__name__)

TRIAL_SECONDS = 180.0  # importing torch and compiling Triton kernels take up to a minute
COMPILE_SECONDS = 400.0  # two sizes whole and one in chunks; a first call on the CPU alone takes a minute
IMPORT_SECONDS = 60.0
_VERDICT = ("fault", "out_of_memory")  # of an answer; the rest are figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one trial: why it failed (empty: it did not), the figures it found, its seconds, and whether it
    would end so again.
    """

    reason: str
    found: Mapping[str, Any]
    seconds: float
    lasting: bool


def prove_attention(
    name: str,
    machine: Hardware,
    *,
    dtype: str | None = None,
    head_dim: int = HEAD_DIM,
    timeout: float = TRIAL_SECONDS,
    again: bool = False,
) -> AttentionProof:
    """The proof of that backend: from disk, else (or `again`) by a trial in a process of its own.

    Takes some seconds with torch to import, never more than `timeout`. What the trial met (a crash, NaN, a
    hang, a package that can't be imported) is in the proof; it raises nothing of that.
    """
    trial, versions = trial_of(ATTENTION, name, machine, dtype, head_dim), versions_of(machine)
    known = None if again else read_proof(trial, versions, AttentionProof)
    if known is not None:
        return known
    outcome = _try(trial, timeout)
    proof = AttentionProof(versions=versions, **_fields(name, outcome))
    if outcome.lasting:
        write_proof(trial, proof)
    return proof


def prove_mode(
    row: QuantizationMode, machine: Hardware, *, timeout: float = TRIAL_SECONDS, again: bool = False
) -> MatmulProof:
    """The proof of that mode, as `prove_attention` makes it. Where the machine has the mode's own cores these
    are tried first, and if they fail the mode without them.
    """
    trial, versions = trial_of(QUANTIZATION, row.name, machine), versions_of(machine)
    known = None if again else read_proof(trial, versions, MatmulProof)
    if known is not None:
        return known
    outcome, lasting, cores_reason = None, True, ""
    if row.cores is not None and row.cores.unavailable_reason(machine) is None:
        outcome = _try(replace(trial, cores=True), timeout)
        lasting, cores_reason = outcome.lasting, outcome.reason
    on_cores = outcome is not None and not outcome.reason
    if outcome is None or not on_cores:
        outcome = _try(trial, timeout)
    proof = MatmulProof(
        versions=versions, on_cores=on_cores, cores_reason=cores_reason, **_fields(row.name, outcome)
    )
    if lasting and outcome.lasting:
        write_proof(trial, proof)
    return proof


def prove_compiled(
    name: str, machine: Hardware, *, timeout: float = COMPILE_SECONDS, again: bool = False
) -> CompileProof:
    """The proof of compiled blocks with linears in that mode, as `prove_attention` makes it."""
    trial, versions = compile_trial_of(name, machine), versions_of_blocks(machine)
    known = None if again else read_proof(trial, versions, CompileProof)
    if known is not None:
        return known
    outcome = _try(trial, timeout)
    proof = CompileProof(versions=versions, **_fields(name, outcome))
    if outcome.lasting:
        write_proof(trial, proof)
    return proof


def try_together(
    names: Sequence[str], machine: Hardware, *, timeout: float = TRIAL_SECONDS
) -> dict[str, MatmulProof]:
    """The outcome for each of these modes, tried in one process; not kept. One that ends the process gets
    the reason, and the rest another process.
    """
    proofs: dict[str, MatmulProof] = {}
    versions = versions_of(machine)
    while rest := [name for name in names if name not in proofs]:
        trials = [trial_of(QUANTIZATION, name, machine) for name in rest]
        for name, outcome in zip(rest, _run(trials, timeout), strict=False):
            proofs[name] = MatmulProof(versions=versions, **_fields(name, outcome))
    return proofs


def why_not_importable(module: str, *names: str, timeout: float = IMPORT_SECONDS) -> str:
    """What happens when a process imports that module, where `names` must be true; empty when all is well."""
    return why_it_failed(run_isolated(["import", module, *names, f"--timeout={timeout}"], timeout), timeout)


def _fields(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": name,
        "usable": not outcome.reason,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        **outcome.found,
    }


def _try(trial: Trial, timeout: float) -> Outcome:
    what = f"{trial.kind} {trial.name}{' on its own cores' if trial.cores else ''}"
    log.info("%s: tested on this machine", what)
    (outcome,) = _run([trial], timeout)
    log.info("%s: %s (%.1f s)", what, outcome.reason or "usable", outcome.seconds)
    return outcome


def _run(trials: Sequence[Trial], timeout: float) -> list[Outcome]:
    """The outcomes up to the first trial that ended the process. All have one kind, device and dtype."""
    begun = time.monotonic()
    first = trials[0]
    ending = run_isolated(
        [
            first.kind,
            *(trial.name for trial in trials),
            f"--device={first.device}",
            f"--dtype={first.dtype}",
            f"--head-dim={first.head_dim}",
            f"--timeout={timeout}",
            *(["--cores"] if first.cores else []),
        ],
        timeout,
    )
    seconds = round(time.monotonic() - begun, 2)
    return [
        Outcome(
            reason=why_it_failed(end, timeout),
            found={name: value for name, value in (end.answer or {}).items() if name not in _VERDICT},
            seconds=round(seconds / len(trials), 2),
            lasting=not end.says_nothing,
        )
        for end in _endings(ending, len(trials))
    ]


def _endings(ending: Ending, wanted: int) -> list[Ending]:
    """One for each trial that ended. What raises answers with its fault and ends the process; without an
    answer to all and without a fault at the end, the next one ended it.
    """
    answered = [replace(ending, code=0, answers=(answer,)) for answer in ending.answers]
    if len(answered) == wanted or (ending.answer or {}).get("fault"):
        return answered
    return [*answered, replace(ending, answers=())]
