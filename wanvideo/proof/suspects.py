"""What broke a job on the card: it counts as failed until the program is started again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from wanvideo.proof.kept import ATTENTION, COMPILE, AttentionProof, CompileProof, MachineProofs, MatmulProof
from wanvideo.registry import quantization_modes


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The row `name` of the table `kind`; of COMPILE there is one, compiled blocks in whatever mode. `reason`
    completes the sentence "left out, ...".
    """

    kind: str
    name: str
    reason: str


def with_suspects(proofs: MachineProofs, suspects: Iterable[Suspect]) -> MachineProofs:
    """The proofs with one more failure for each suspect. What is on disk stays as it was: an error of the
    card is often reported late, so the row may be innocent.
    """
    attention, quantization = dict(proofs.attention), dict(proofs.quantization)
    compiled = dict(proofs.compiled)
    for suspect in suspects:
        outcome: dict[str, Any] = {"usable": False, "reason": suspect.reason, "in_job": True, "versions": {}}
        if suspect.kind == ATTENTION:
            attention[suspect.name] = AttentionProof(name=suspect.name, **outcome)
        elif suspect.kind == COMPILE:
            compiled = {mode: CompileProof(name=mode, **outcome) for mode in quantization_modes()}
        else:
            quantization[suspect.name] = MatmulProof(name=suspect.name, **outcome)
    return replace(proofs, attention=attention, quantization=quantization, compiled=compiled)
