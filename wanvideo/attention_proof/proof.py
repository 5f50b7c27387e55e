"""What is tried, what came out of it, and the copy on disk."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wanvideo.attention_proof.versions import versions_of
from wanvideo.cache_folder import cache_folder
from wanvideo.hardware import Hardware
from wanvideo.registry import attention_backends

log = logging.getLogger(__name__)

HEAD_DIM = 128  # of every published Wan 2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a backend is tried with: torch device, "bf16", "fp16" or "fp32", and channels of a head."""

    backend: str
    device: str
    dtype: str
    head_dim: int = HEAD_DIM


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome of a trial. `reason` says why the backend is not usable; it is empty when it is.

    The cosine is the worst against exact attention, the times are for one call; None where the trial did not
    get so far. `small_cosine` belongs to the tensor of 1 x 8 x 16 x 64 (batch, heads, tokens, head_dim),
    `provider` names the function that did the work, `seconds` is what the trial took.
    """

    backend: str
    usable: bool
    reason: str = ""
    cosine: float | None = None
    small_cosine: float | None = None
    milliseconds: float | None = None
    sdpa_milliseconds: float | None = None
    provider: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str]

    @property
    def slower(self) -> bool:
        """Whether torch's own attention is faster on this machine."""
        times = self.milliseconds, self.sdpa_milliseconds
        return times[0] is not None and times[1] is not None and times[0] > times[1]


def trial_of(backend: str, machine: Hardware, dtype: str | None = None, head_dim: int = HEAD_DIM) -> Trial:
    """The trial for this machine; without a `dtype` in the one that suits it."""
    return Trial(backend=backend, device=machine.device, dtype=dtype or machine.dtype, head_dim=head_dim)


def read_proofs(machine: Hardware) -> dict[str, Proof]:
    """name -> proof of every backend that was tried with just these versions. Quick: no torch, no trial."""
    versions = versions_of(machine)
    found = {name: read_proof(trial_of(name, machine), versions) for name in attention_backends()}
    return {name: proof for name, proof in found.items() if proof is not None}


def read_proof(trial: Trial, versions: Mapping[str, str]) -> Proof | None:
    """The proof on disk for this trial and these versions."""
    path = _path(trial, versions)
    try:
        return Proof(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        log.warning("%s can't be read and is made again: %s", path.name, error)
        return None


def write_proof(trial: Trial, proof: Proof) -> None:
    """Keep the proof. A folder that can't be written only means that the trial is made again."""
    path = _path(trial, proof.versions)
    half = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(asdict(proof)), encoding="utf-8")
        half.replace(path)
    except OSError as error:
        log.warning("the proof of %s can't be kept: %s", proof.backend, error)


def _path(trial: Trial, versions: Mapping[str, str]) -> Path:
    told = json.dumps([asdict(trial), dict(versions)], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:16]
    return cache_folder("attention_proofs") / f"{trial.backend}-{key}.json"
