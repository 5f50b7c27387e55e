"""Which option runs: the one asked for, or down its fallbacks to one this machine can run, each step said."""

from collections.abc import Mapping
from typing import TypeVar

from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.proof.kept import Proof
from wanvideo.registry import AttentionBackend, QuantizationMode, resolve

AUTO = "auto"
AUTO_NAMES = (AUTO, "default")

Option = TypeVar("Option", AttentionBackend, QuantizationMode)
Proofs = Mapping[str, Proof]


def choose(
    table: Mapping[str, Option],
    name: str,
    what: str,
    machine: Hardware,
    strict: bool,
    notes: list[str],
    proofs: Proofs | None = None,
) -> Option:
    """The row of `table` that will run; "auto" takes the first that can. A note is added for each step down.

    With `proofs` (name -> outcome of a trial on this machine) a row that failed is stepped over, and "auto"
    takes none that was not tried or is slower than torch's own attention. Raises UserError for an unknown
    name, and for one that can't run here when `strict` or without a fallback.
    """
    if name in AUTO_NAMES:
        row = next(row for row in table.values() if _suits_auto(row, machine, proofs))
        notes += [f"{name}: {reason}" for name, reason in _passed_over(table, row, machine, proofs)]
        return row
    row = resolve(table, name, what)
    while (reason := obstacle(row, machine, proofs)) is not None:
        if strict or row.fallback is None:
            raise UserError(f"{what} {row.name} can't run here: {reason}", fix="Choose auto.")
        notes.append(f"{row.name}: {reason}; {row.fallback} runs instead")
        row = table[row.fallback]
    return row


def obstacle(
    row: AttentionBackend | QuantizationMode, machine: Hardware, proofs: Proofs | None
) -> str | None:
    """Why the row can't run on that machine, as far as is known."""
    reason = row.unavailable_reason(machine)
    if reason is None and proofs is not None and row.name in proofs and not proofs[row.name].usable:
        return proofs[row.name].finding
    return reason


def next_untried(
    table: Mapping[str, AttentionBackend], name: str, machine: Hardware, proofs: Proofs
) -> AttentionBackend | None:
    """The backend whose trial decides what `choose` will take; None when nothing more has to be known."""
    if name in AUTO_NAMES:
        chosen = next(row for row in table.values() if _suits_auto(row, machine, proofs))
        return next((row for row in _above(table, chosen, machine) if row.name not in proofs), None)
    row = resolve(table, name, "attention")
    while obstacle(row, machine, proofs) is not None and row.fallback is not None:
        row = table[row.fallback]
    return row if _needs_trial(row) and row.name not in proofs else None


def _suits_auto(row: Option, machine: Hardware, proofs: Proofs | None) -> bool:
    if obstacle(row, machine, proofs) is not None:
        return False
    if proofs is None or not _needs_trial(row):
        return True
    return row.name in proofs and not proofs[row.name].slower


def _passed_over(
    table: Mapping[str, Option], chosen: Option, machine: Hardware, proofs: Proofs | None
) -> list[tuple[str, str]]:
    """(name, reason) of those preferred to `chosen` that a trial, or the lack of one, has ruled out."""
    if proofs is None:
        return []
    reasons = ((row.name, why_left_out(row.name, proofs)) for row in _above(table, chosen, machine))
    return [(name, reason) for name, reason in reasons if reason is not None]


def why_left_out(name: str, proofs: Proofs) -> str | None:
    """Why "auto" does not take that row: it was not tried, or it failed."""
    proof = proofs.get(name)
    if proof is None:
        return "not tested on this machine yet, so auto leaves it out (selftest tests it)"
    return None if proof.usable else f"left out, {proof.finding}"


def _above(table: Mapping[str, Option], chosen: Option, machine: Hardware) -> list[Option]:
    """The rows before `chosen` that the machine could run."""
    names = list(table)
    before = [table[name] for name in names[: names.index(chosen.name)]]
    return [row for row in before if row.unavailable_reason(machine) is None]


def _needs_trial(row: AttentionBackend | QuantizationMode) -> bool:
    """Only the row that all others fall back to is above suspicion."""
    return row.fallback is not None
