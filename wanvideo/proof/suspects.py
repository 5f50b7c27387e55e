"""Rows that broke a job on the card: they count as failed until the program is started again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wanvideo.proof.kept import ATTENTION, AttentionProof, MachineProofs, MatmulProof


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The row `name` of the table `kind`; `reason` completes the sentence "left out, ..."."""

    kind: str
    name: str
    reason: str


def with_suspects(proofs: MachineProofs, suspects: Iterable[Suspect]) -> MachineProofs:
    """The proofs with one more failure for each suspect. What is on disk stays as it was: an error of the
    card is often reported late, so the row may be innocent.
    """
    attention, quantization = dict(proofs.attention), dict(proofs.quantization)
    for suspect in suspects:
        outcome = {"name": suspect.name, "usable": False, "reason": suspect.reason, "in_job": True}
        if suspect.kind == ATTENTION:
            attention[suspect.name] = AttentionProof(versions={}, **outcome)  # type: ignore[arg-type]
        else:
            quantization[suspect.name] = MatmulProof(versions={}, **outcome)  # type: ignore[arg-type]
    return replace(proofs, attention=attention, quantization=quantization)
