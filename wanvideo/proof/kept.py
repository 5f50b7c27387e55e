"""What is tried, what came out of it, and the copy on disk."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from wanvideo.cache_folder import cache_folder
from wanvideo.hardware import Hardware
from wanvideo.proof.versions import versions_of, versions_of_blocks
from wanvideo.registry import attention_backends, quantization_modes

log = logging.getLogger(__name__)

ATTENTION, QUANTIZATION, COMPILE = "attention", "quantization", "compile"
HEAD_DIM = 128  # of every published Wan 2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried: the row `name` of the table `kind`; and with what: torch device, "bf16", "fp16" or
    "fp32", for attention the channels of a head, for a quantization mode whether on its own `cores`. What is
    compiled is a block in the quantization mode of that name.
    """

    kind: str
    name: str
    device: str
    dtype: str
    head_dim: int = HEAD_DIM
    cores: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome of a trial. `reason` says why the row is not usable; it is empty when it is.

    The times are of one call: of this row, and of its peer, which is torch's own attention, the mode's
    fallback, or the same not compiled. `computed_by` names the function that did the work, `seconds` is what
    the trial took. `in_job`: it was no trial, a job came to grief.
    """

    name: str
    usable: bool
    reason: str = ""
    milliseconds: float | None = None
    peer_milliseconds: float | None = None
    computed_by: str = ""
    seconds: float = 0.0
    in_job: bool = False
    versions: Mapping[str, str]

    @property
    def finding(self) -> str:
        """What spoke against the row, for people."""
        return self.reason if self.in_job else f"in a test on this machine {self.reason}"

    @property
    def slower(self) -> bool:
        """Whether the peer is faster on this machine."""
        times = self.milliseconds, self.peer_milliseconds
        return times[0] is not None and times[1] is not None and times[0] > times[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionProof(Proof):
    """The worst cosine against exact attention; `small_cosine` on the tensor of 1 x 8 x 16 x 64 (batch,
    heads, tokens, head_dim). None where the trial did not get so far.
    """

    cosine: float | None = None
    small_cosine: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulProof(Proof):
    """`error` is relative to the dense product in fp32, `stored_percent` the bytes beside those of bf16.

    `on_cores`: the mode's own cores did the work, and it works without them as well. `cores_reason` says why
    they did not, where the machine has them.
    """

    error: float | None = None
    dense_milliseconds: float | None = None
    stored_percent: float | None = None
    on_cores: bool = False
    cores_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileProof(Proof):
    """Of compiled blocks whose linears are in the mode `name`. `error` is relative to the same blocks not
    compiled, `exact_error` and `plain_error` are those of both beside fp32; `compile_seconds` is what the
    first call took.
    """

    error: float | None = None
    exact_error: float | None = None
    plain_error: float | None = None
    compile_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineProofs:
    """All that trials have shown on a machine, by name; `compiled` by that of the quantization mode."""

    attention: dict[str, AttentionProof]
    quantization: dict[str, MatmulProof]
    compiled: dict[str, CompileProof] = field(default_factory=dict)


AnyProof = TypeVar("AnyProof", AttentionProof, MatmulProof, CompileProof)


def trial_of(
    kind: str, name: str, machine: Hardware, dtype: str | None = None, head_dim: int = HEAD_DIM
) -> Trial:
    """The trial for this machine; without a `dtype` in the one that suits it."""
    return Trial(kind=kind, name=name, device=machine.device, dtype=dtype or machine.dtype, head_dim=head_dim)


def compile_trial_of(name: str, machine: Hardware) -> Trial:
    """The trial of compiled blocks in that quantization mode, on the mode's own cores too where there are
    some.
    """
    cores = quantization_modes()[name].cores
    has_cores = cores is not None and cores.unavailable_reason(machine) is None
    return replace(trial_of(COMPILE, name, machine), cores=has_cores)


def read_proofs(machine: Hardware) -> MachineProofs:
    """The proof of every row that was tried with just these versions. Quick: no torch, no trial."""
    versions, of_blocks = versions_of(machine), versions_of_blocks(machine)

    def read(kind: str, name: str, form: type[AnyProof]) -> dict[str, AnyProof]:
        proof = read_proof(trial_of(kind, name, machine), versions, form)
        return {} if proof is None else {name: proof}

    found = MachineProofs(attention={}, quantization={})
    for name in attention_backends():
        found.attention.update(read(ATTENTION, name, AttentionProof))
    for name in quantization_modes():
        found.quantization.update(read(QUANTIZATION, name, MatmulProof))
        blocks = read_proof(compile_trial_of(name, machine), of_blocks, CompileProof)
        found.compiled.update({} if blocks is None else {name: blocks})
    return found


def read_proof(trial: Trial, versions: Mapping[str, str], form: type[AnyProof]) -> AnyProof | None:
    """The proof on disk for this trial and these versions."""
    path = _path(trial, versions)
    try:
        return form(**json.loads(path.read_text(encoding="utf-8")))
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
        log.warning("the proof of %s can't be kept: %s", proof.name, error)


def _path(trial: Trial, versions: Mapping[str, str]) -> Path:
    told = json.dumps([asdict(trial), dict(versions)], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:16]
    return cache_folder("proofs") / f"{trial.name}-{key}.json"
