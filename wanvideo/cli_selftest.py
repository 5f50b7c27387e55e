"""`python -m wanvideo selftest`: what is installed, and which attention works here, as text to send."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from wanvideo.attention.providers import Provider
from wanvideo.attention.sage import SAGE_1
from wanvideo.attention.sage3 import PROVIDERS as SAGE_3
from wanvideo.attention_proof.proof import Proof
from wanvideo.attention_proof.prove import prove, why_not_importable
from wanvideo.attention_proof.versions import versions_of
from wanvideo.hardware import Hardware
from wanvideo.registry import attention_backends
from wanvideo.wording import describe_machine

FLAGS: Mapping[str, Sequence[Provider]] = {
    "SAGEATTENTION_AVAILABLE": (SAGE_1,),
    "SAGEATTN3_AVAILABLE": SAGE_3,
}
HEADINGS = ("attention", "usable", "cosine", "1x8x16x64", "ms", "sdpa ms", "ratio", "computed by, or why not")


@dataclass(frozen=True, slots=True, kw_only=True)
class Importable:
    """Whether any of a flag's functions can be imported: the first that can, else why each can't."""

    available: bool
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """All findings. A backend has a proof, or a reason in `untried` why this machine can't run it."""

    machine: Hardware
    versions: Mapping[str, str]
    flags: Mapping[str, Importable]
    proofs: Mapping[str, Proof]
    untried: Mapping[str, str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        flags = {name: asdict(flag) for name, flag in self.flags.items()}
        rows = [
            {"name": name, "usable": False, "reason": self.untried[name]}
            if name in self.untried
            else {"name": name, **_figures(self.proofs[name])}
            for name in attention_backends()
        ]
        return {"versions": dict(self.versions), **flags, "attention": rows, "seconds": self.seconds}


def run_selftest(machine: Hardware, tell: Callable[[str], None], *, again: bool = False) -> SelfTest:
    """Try every backend that this machine could run, one after the other so that none disturbs the time of
    another; `again`: also those with a proof. `tell` gets a line before each.
    """
    begun = time.monotonic()
    flags = {name: _importable(providers) for name, providers in FLAGS.items()}
    reasons = {name: row.unavailable_reason(machine) for name, row in attention_backends().items()}
    proofs = {}
    for name in (name for name, reason in reasons.items() if reason is None):
        tell(f"testing {name} ...")
        proofs[name] = prove(name, machine, again=again)
    return SelfTest(
        machine=machine,
        versions=versions_of(machine),
        flags=flags,
        proofs=proofs,
        untried={name: reason for name, reason in reasons.items() if reason is not None},
        seconds=round(time.monotonic() - begun, 1),
    )


def report_lines(found: SelfTest) -> Iterator[str]:
    """The report. It names no user and no folder."""
    yield f"selftest of {datetime.now():%Y-%m-%d %H:%M}"
    yield from describe_machine(found.machine)
    yield ""
    yield from _columns([list(row) for row in found.versions.items()])
    yield ""
    for name, flag in found.flags.items():
        yield f"{name} = {flag.available} ({flag.told})"
    yield ""
    yield from _columns([list(HEADINGS), *(_row(found, name) for name in attention_backends())])
    trials = sum(proof.seconds for proof in found.proofs.values())
    yield ""
    yield f"{len(found.proofs)} tested: {trials:.1f} s of trials, {found.seconds:.1f} s now"


def _importable(providers: Sequence[Provider]) -> Importable:
    failures = []
    for provider in filter(Provider.is_here, providers):
        reason = why_not_importable(provider.module, *filter(None, (provider.function, provider.flag)))
        if not reason:
            return Importable(available=True, told=provider.title)
        failures.append(f"{provider.title}: {reason}")
    absent = f"not installed: {', '.join(dict.fromkeys(provider.title for provider in providers))}"
    return Importable(available=False, told="; ".join(failures) or absent)


def _row(found: SelfTest, name: str) -> list[str]:
    if name in found.untried:
        return [name, "no", *["-"] * 5, found.untried[name]]
    proof = found.proofs[name]
    return [
        name,
        "yes" if proof.usable else "no",
        *(_number(value, 4) for value in (proof.cosine, proof.small_cosine)),
        *(_number(value, 2) for value in (proof.milliseconds, proof.sdpa_milliseconds, _ratio(proof))),
        proof.provider if proof.usable else proof.reason,
    ]


def _ratio(proof: Proof) -> float | None:
    """How many times as fast as torch's own attention."""
    return (
        proof.sdpa_milliseconds / proof.milliseconds
        if proof.milliseconds and proof.sdpa_milliseconds
        else None
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _figures(proof: Proof) -> dict[str, Any]:
    return {**asdict(proof), "ratio": _ratio(proof)}


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells below each other; the last one is as long as it likes."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
