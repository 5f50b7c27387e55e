"""Which quantization mode really runs: from the wanted one, the machine, the trials on it and what the file
holds.

A pure function. Every step away from what was asked is a note; with `strict` it is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wanvideo.errors import UserError
from wanvideo.fallback import AUTO, AUTO_NAMES, choose, why_left_out
from wanvideo.hardware import Hardware
from wanvideo.proof.kept import MatmulProof
from wanvideo.registry import QuantizationMode, resolve

DENSE = "dense"
AUTO_CAPABILITY = (8, 0)  # older cards dequantize bf16 slowly; they stay with the file
_IN_WORDS = {"e4m3": "FP8 (e4m3)", "e5m2": "FP8 (e5m2)", "int8": "INT8", "nvfp4": "NVFP4", "gguf": "GGUF"}
_UNSCALED_FORMATS = ("e4m3", "e5m2")  # those that are of use without a scale
_WHAT = "quantization"
Table = Mapping[str, QuantizationMode]
Proofs = Mapping[str, MatmulProof]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFormat:
    """How a file keeps the weights that quantization is about.

    `weights` is the format (a row of `quantization.formats.FORMATS`) of most of their bytes, `others` are the
    formats of the rest; together `parameters` numbers in `bytes`. `kind` is the commonest type of a format
    that has several. `scaled`: fp8 weights come with scales. Of its `layers` in 8 bits or fewer the file
    forbids a matmul in low precision for `exact_layers`.
    """

    weights: str = DENSE
    kind: str = ""
    others: tuple[str, ...] = ()
    scaled: bool = False
    layers: int = 0
    exact_layers: int = 0
    parameters: int = 0
    bytes: int = 0

    @property
    def lacks_scales(self) -> bool:
        """Whether its weights are fp8 casts, with no scale beside them."""
        return self.weights in _UNSCALED_FORMATS and not self.scaled

    @property
    def words(self) -> str:
        """For people: "FP8 (e4m3) without scales", "GGUF Q4_K"."""
        bare = f"{_IN_WORDS.get(self.weights, self.weights)} {self.kind}".rstrip()
        return f"{bare} without scales" if self.lacks_scales else bare


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMode:
    """What was asked: a name, an alias or "auto". `as_stored` keeps fp8 weights under a 4-bit name;
    `fits_dense`: the dense model is small beside this card's memory.
    """

    name: str
    strict: bool = False
    as_stored: bool = False
    fits_dense: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveMode:
    """The row that runs; whether fp8 weights of the file become denser, and whether the row's own cores
    multiply; what differs from what was asked.
    """

    mode: QuantizationMode
    requantizes: bool = False
    own_cores: bool = False
    notes: tuple[str, ...] = ()


def effective_mode(
    table: Table, wanted: WantedMode, machine: Hardware, stored: StoredFormat, proofs: Proofs | None = None
) -> EffectiveMode:
    """The mode of `table` that runs. With `proofs` (name -> outcome of a trial on this machine) one that
    failed is stepped over, "auto" takes no fast one that was not tried or is slower than its fallback, and
    own cores are used where they were shown to work. Raises UserError for an unknown name, and with `strict`
    for a mode that this machine or this file can't have.
    """
    notes: list[str] = []
    if wanted.name in AUTO_NAMES:
        row, requantizes = _automatic(table, wanted.fits_dense, machine, stored), False
        row = _down_to_proven(table, row, proofs, notes)
    else:
        asked = resolve(table, wanted.name, _WHAT)
        row, requantizes = _of_file(table, asked, wanted, stored, notes)
        row = choose(table, row.name, _WHAT, machine, wanted.strict, notes, proofs)
        row = _honour_marker(table, row, wanted.strict, stored, notes)
    own_cores = _has_own_cores(row, machine, proofs, notes)
    if row.scaled and stored.weights in row.accepts and stored.lacks_scales:
        notes.append(f"{row.name}: the file has no scales, one per row is computed; no weight changes")
    return EffectiveMode(mode=row, requantizes=requantizes, own_cores=own_cores, notes=tuple(notes))


def next_untried_mode(
    table: Table, wanted: WantedMode, machine: Hardware, stored: StoredFormat, proofs: Proofs
) -> QuantizationMode | None:
    """The mode whose trial decides what `effective_mode` will take; None when nothing more has to be known.

    It is the one that would run if all that were not tried were good.
    """
    hopes = {name: MatmulProof(name=name, usable=True, versions={}) for name in table}
    row = effective_mode(table, replace(wanted, strict=False), machine, stored, {**hopes, **proofs}).mode
    return row if row.fallback is not None and row.name not in proofs else None


def as_stored_mode(table: Table) -> QuantizationMode:
    """The mode that leaves every weight as the file has it."""
    return next(row for row in table.values() if row.store is None)


def native_modes(table: Table, format: str) -> list[QuantizationMode]:
    """The modes whose own format this is: the densest that take it over. None for dense and GGUF."""
    takers = [row for row in table.values() if row.store is not None and format in row.accepts]
    least = min((row.bytes_per_weight for row in takers), default=0.0)
    return [row for row in takers if row.bytes_per_weight == least]


def makes_denser(table: Table, mode: QuantizationMode, stored: StoredFormat) -> bool:
    """Whether the mode has fewer bits than the file, which has 8 or fewer itself."""
    natives = native_modes(table, stored.weights)
    return mode.store is not None and any(mode.bytes_per_weight < row.bytes_per_weight for row in natives)


def _of_file(
    table: Table, asked: QuantizationMode, wanted: WantedMode, stored: StoredFormat, notes: list[str]
) -> tuple[QuantizationMode, bool]:
    """(the row that fits the file, whether its weights are made denser)."""
    natives = native_modes(table, stored.weights)
    if stored.weights == DENSE or asked.store is None or asked in natives:
        return asked, False
    is_denser = makes_denser(table, asked, stored)
    if is_denser and not wanted.as_stored:
        notes.append(f"{asked.name}: the file holds {stored.words}; it is re-quantized to real 4 bit, once")
        return asked, True
    row = _like(asked, natives, stored) if natives else as_stored_mode(table)
    if is_denser:
        notes.append(
            f"{asked.name}: requantize is as_stored, the file's {stored.words} stays; {row.name} runs"
        )
        return row, False
    reason = f"the file holds {stored.words}, which stays as it is: what it has lost does not come back"
    if not natives:
        reason = f"the file holds {stored.words}, which no mode takes over: it is made dense for each call"
    if wanted.strict:
        raise _refusal(asked, reason)
    notes.append(f"{asked.name}: {reason}; {row.name} runs instead")
    return row, False


def _like(asked: QuantizationMode, rows: list[QuantizationMode], stored: StoredFormat) -> QuantizationMode:
    """Of `rows` the one that multiplies as `asked` does, and is named for what the file has."""
    is_fast = asked.fallback is not None
    return min(
        rows, key=lambda row: ((row.fallback is not None) != is_fast, row.scaled == stored.lacks_scales)
    )


def _honour_marker(
    table: Table, row: QuantizationMode, strict: bool, stored: StoredFormat, notes: list[str]
) -> QuantizationMode:
    if row.fallback is None or not stored.exact_layers:
        return row
    if stored.exact_layers < stored.layers:
        notes.append(f"{row.name}: {stored.exact_layers} layers are multiplied exactly, as the file asks")
        return row
    reason = "the file forbids a matmul in low precision (full_precision_matrix_mult)"
    if strict:
        raise _refusal(row, reason)
    notes.append(f"{row.name}: {reason}; {row.fallback} runs instead")
    return table[row.fallback]


def _down_to_proven(
    table: Table, row: QuantizationMode, proofs: Proofs | None, notes: list[str]
) -> QuantizationMode:
    """The row if a trial has shown that it works and gains time, else its fallback, said in a note."""
    if row.fallback is None or proofs is None:
        return row
    reason = why_left_out(row.name, proofs)
    if reason is None and proofs[row.name].slower:
        reason = f"left out, in a test on this machine it was slower than {row.fallback}"
    if reason is None:
        return row
    notes.append(f"{row.name}: {reason}; {row.fallback} runs")
    return _down_to_proven(table, table[row.fallback], proofs, notes)


def _has_own_cores(row: QuantizationMode, machine: Hardware, proofs: Proofs | None, notes: list[str]) -> bool:
    """Whether they multiply; a note says why those of the row do not."""
    if row.cores is None:
        return False
    reason = row.cores.unavailable_reason(machine)
    if reason is None and proofs is not None:
        proof = proofs.get(row.name)
        if proof is None:
            reason = f"{row.cores.title} not tested on this machine yet (selftest tests them)"
        elif not proof.on_cores:
            reason = f"{row.cores.title} failed here: {proof.cores_reason}"
    if reason is not None:
        notes.append(f"{row.name}: {reason}; {row.cores.otherwise}")
    return reason is None


def _automatic(table: Table, fits: bool, machine: Hardware, stored: StoredFormat) -> QuantizationMode:
    """As the file where that is small beside the memory, and on the CPU; else 8 bits, or the file's own 4,
    on tensor cores where the card has them.
    """
    as_stored = as_stored_mode(table)
    natives = native_modes(table, stored.weights)
    is_known = bool(natives) or stored.weights == DENSE
    old = not machine.gpus or machine.gpus[0].compute_capability < AUTO_CAPABILITY
    if fits or machine.device == "cpu" or old or not is_known:
        return as_stored
    rows = natives or [row for row in table.values() if row.store is not None]  # the least dense come first
    may_be_fast = not stored.layers or stored.exact_layers < stored.layers
    rows = [
        row
        for row in rows
        if row.unavailable_reason(machine) is None and (row.fallback is None or may_be_fast)
    ]
    return min(rows, key=lambda row: (row.fallback is None, row.scaled == stored.lacks_scales))


def _refusal(row: QuantizationMode, reason: str) -> UserError:
    return UserError(f"{_WHAT} {row.name} can't run here: {reason}", fix=f"Choose {AUTO}.")
