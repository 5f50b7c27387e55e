"""`python -m wanvideo selftest`: what is installed, and which attention and quantization work here, as text
to send.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from wanvideo.attention.providers import Provider
from wanvideo.attention.sage import SAGE_1
from wanvideo.attention.sage3 import PROVIDERS as SAGE_3
from wanvideo.hardware import Hardware
from wanvideo.proof.kept import ATTENTION, QUANTIZATION, AttentionProof, MatmulProof, Proof
from wanvideo.proof.prove import prove_attention, prove_mode, try_together, why_not_importable
from wanvideo.proof.versions import versions_of
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.wording import describe_machine

FLAGS: Mapping[str, Sequence[Provider]] = {
    "SAGEATTENTION_AVAILABLE": (SAGE_1,),
    "SAGEATTN3_AVAILABLE": SAGE_3,
}
COMPUTED_BY = "computed by, or why not"
ATTENTION_HEADINGS = ("attention", "usable", "cosine", "1x8x16x64", "ms", "sdpa ms", "ratio", COMPUTED_BY)
MODE_HEADINGS = ("quantization", "usable", "error", "ms", "dense ms", "ratio", "stored %", COMPUTED_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importable:
    """Whether any of a flag's functions can be imported: the first that can, else why each can't."""

    available: bool
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """All findings. A row of one of the two tables has a proof, or a reason in `untried` why this machine
    can't run it.
    """

    machine: Hardware
    versions: Mapping[str, str]
    flags: Mapping[str, Importable]
    attention: Mapping[str, AttentionProof]
    quantization: Mapping[str, MatmulProof]
    untried: Mapping[str, str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        flags = {name: asdict(flag) for name, flag in self.flags.items()}
        tables = {
            ATTENTION: [self._row(name, self.attention) for name in attention_backends()],
            QUANTIZATION: [self._row(name, self.quantization) for name in quantization_modes()],
        }
        return {"versions": dict(self.versions), **flags, **tables, "seconds": self.seconds}

    def _row(self, name: str, proofs: Mapping[str, Proof]) -> dict[str, Any]:
        if name in self.untried:
            return {"name": name, "usable": False, "reason": self.untried[name]}
        return {**asdict(proofs[name]), "ratio": _ratio(proofs[name])}


def run_selftest(machine: Hardware, tell: Callable[[str], None], *, again: bool = False) -> SelfTest:
    """Try every row that this machine could run, one after the other so that none disturbs the time of
    another; `again`: also those with a proof. `tell` gets a line before each.
    """
    begun = time.monotonic()
    flags = {name: _importable(providers) for name, providers in FLAGS.items()}
    reasons = {
        **{name: row.unavailable_reason(machine) for name, row in attention_backends().items()},
        **{name: row.unavailable_reason(machine) for name, row in quantization_modes().items()},
    }
    untried = {name: reason for name, reason in reasons.items() if reason is not None}
    return SelfTest(
        machine=machine,
        versions=versions_of(machine),
        flags=flags,
        attention=_try_attention(machine, untried, tell, again=again),
        quantization=_try_modes(machine, untried, tell, again=again),
        untried=untried,
        seconds=round(time.monotonic() - begun, 1),
    )


def _try_attention(
    machine: Hardware, untried: Mapping[str, str], tell: Callable[[str], None], *, again: bool
) -> dict[str, AttentionProof]:
    proofs = {}
    for name in (name for name in attention_backends() if name not in untried):
        tell(f"testing {name} ...")
        proofs[name] = prove_attention(name, machine, again=again)
    return proofs


def _try_modes(
    machine: Hardware, untried: Mapping[str, str], tell: Callable[[str], None], *, again: bool
) -> dict[str, MatmulProof]:
    """Those that dequantize need no kernel of their own, so one process has room for them all."""
    rows = [row for row in quantization_modes().values() if row.name not in untried]
    plain = [row.name for row in rows if row.fallback is None]
    tell(f"testing {', '.join(plain)} ...")
    proofs = try_together(plain, machine)
    for row in (row for row in rows if row.fallback is not None):
        tell(f"testing {row.name} ...")
        proofs[row.name] = prove_mode(row, machine, again=again)
    return proofs


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
    attention = (_attention_row(name, found) for name in attention_backends())
    yield from _columns([list(ATTENTION_HEADINGS), *attention])
    yield ""
    yield from _columns([list(MODE_HEADINGS), *(_mode_row(name, found) for name in quantization_modes())])
    proofs: list[Proof] = [*found.attention.values(), *found.quantization.values()]
    trials = sum(proof.seconds for proof in proofs)
    yield ""
    yield f"{len(proofs)} tested: {trials:.1f} s of trials, {found.seconds:.1f} s now"


def _importable(providers: Sequence[Provider]) -> Importable:
    failures = []
    for provider in filter(Provider.is_here, providers):
        reason = why_not_importable(provider.module, *filter(None, (provider.function, provider.flag)))
        if not reason:
            return Importable(available=True, told=provider.title)
        failures.append(f"{provider.title}: {reason}")
    absent = f"not installed: {', '.join(dict.fromkeys(provider.title for provider in providers))}"
    return Importable(available=False, told="; ".join(failures) or absent)


def _attention_row(name: str, found: SelfTest) -> list[str]:
    if name in found.untried:
        return _empty_row(name, len(ATTENTION_HEADINGS), found.untried[name])
    proof = found.attention[name]
    return [
        name,
        "yes" if proof.usable else "no",
        *(_number(value, 4) for value in (proof.cosine, proof.small_cosine)),
        *(_number(value, 2) for value in (proof.milliseconds, proof.peer_milliseconds, _ratio(proof))),
        proof.computed_by if proof.usable else proof.reason,
    ]


def _mode_row(name: str, found: SelfTest) -> list[str]:
    if name in found.untried:
        return _empty_row(name, len(MODE_HEADINGS), found.untried[name])
    proof = found.quantization[name]
    without = f" (its own cores: {proof.cores_reason})" if proof.cores_reason else ""
    return [
        name,
        "yes" if proof.usable else "no",
        _number(proof.error, 4),
        *(_number(value, 2) for value in (proof.milliseconds, proof.dense_milliseconds, _ratio(proof))),
        _number(proof.stored_percent, 1),
        f"{proof.computed_by if proof.usable else proof.reason}{without}",
    ]


def _empty_row(name: str, columns: int, reason: str) -> list[str]:
    return [name, "no", *["-"] * (columns - 3), reason]


def _ratio(proof: Proof) -> float | None:
    """How many times as fast as torch's own attention, or as the dense linear."""
    exact = proof.dense_milliseconds if isinstance(proof, MatmulProof) else proof.peer_milliseconds
    return exact / proof.milliseconds if exact and proof.milliseconds else None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells below each other; the last one is as long as it likes."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
