"""Shows whether a backend works on this machine, once for each set of versions."""

import logging
import time
from collections.abc import Mapping

from wanvideo.attention_proof.isolated import run_isolated, why_it_failed
from wanvideo.attention_proof.proof import HEAD_DIM, Proof, Trial, read_proof, trial_of, write_proof
from wanvideo.attention_proof.versions import versions_of
from wanvideo.hardware import Hardware

log = logging.getLogger(__name__)

TRIAL_SECONDS = 180.0  # importing torch and compiling Triton kernels take up to a minute
IMPORT_SECONDS = 60.0
FOUND = ("cosine", "small_cosine", "milliseconds", "sdpa_milliseconds", "provider")


def prove(
    name: str,
    machine: Hardware,
    *,
    dtype: str | None = None,
    head_dim: int = HEAD_DIM,
    timeout: float = TRIAL_SECONDS,
    again: bool = False,
) -> Proof:
    """The proof of that backend: from disk, else (or `again`) by a trial in a process of its own.

    Takes some seconds with torch to import, never more than `timeout`. What the trial met (a crash, NaN, a
    hang, a package that can't be imported) is in the proof; it raises nothing of that.
    """
    trial, versions = trial_of(name, machine, dtype, head_dim), versions_of(machine)
    known = None if again else read_proof(trial, versions)
    if known is not None:
        return known
    log.info("attention %s: tested on this machine", name)
    proof, lasting = _try(trial, versions, timeout)
    log.info("attention %s: %s (%.1f s)", name, proof.reason or "usable", proof.seconds)
    if lasting:
        write_proof(trial, proof)
    return proof


def why_not_importable(module: str, *names: str, timeout: float = IMPORT_SECONDS) -> str:
    """What happens when a process imports that module, where `names` must be true; empty when all is well."""
    return why_it_failed(run_isolated([module, "--import", *names], timeout), timeout)


def _try(trial: Trial, versions: Mapping[str, str], timeout: float) -> tuple[Proof, bool]:
    """The proof, and whether it will be the same the next time."""
    begun = time.monotonic()
    ending = run_isolated(
        [
            trial.backend,
            f"--device={trial.device}",
            f"--dtype={trial.dtype}",
            f"--head-dim={trial.head_dim}",
            f"--timeout={timeout}",
        ],
        timeout,
    )
    reason = why_it_failed(ending, timeout)
    found = {name: value for name, value in (ending.answer or {}).items() if name in FOUND}
    seconds = round(time.monotonic() - begun, 2)
    proof = Proof(
        backend=trial.backend,
        usable=not reason,
        reason=reason,
        seconds=seconds,
        versions=versions,
        **found,
    )
    return proof, not ending.says_nothing
