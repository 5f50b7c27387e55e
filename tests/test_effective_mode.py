"""Which quantization mode runs: every mode on every machine with every kind of file."""

import re
from dataclasses import replace
from itertools import product

import pytest

from tests.plan_cases import CARD, CPU, GPU
from wanvideo.effective_mode import Proofs, StoredFormat, WantedMode, effective_mode
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.registry import quantization_modes

MODES = quantization_modes()
ROWS = (  # the 12 of the contract
    "disabled",
    *(f"fp8_{kind}{end}" for kind in ("e4m3fn", "e5m2") for end in ("", "_scaled", "_fast", "_scaled_fast")),
    *("fp4_experimental", "fp4_scaled", "fp4_scaled_fast"),
)


def of_card(capability: tuple[int, int]) -> Hardware:
    return replace(GPU, gpus=(replace(CARD, compute_capability=capability),))


CAPABILITIES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]
MACHINES: list[Hardware] = [
    CPU,
    *map(of_card, CAPABILITIES),
]
FILES = {
    "dense": StoredFormat(parameters=9, bytes=18),
    "fp8 plain": StoredFormat(weights="e4m3", layers=4, parameters=9, bytes=9),
    "fp8 scaled": StoredFormat(weights="e4m3", scaled=True, layers=4, parameters=9, bytes=9),
    "e5m2 plain": StoredFormat(weights="e5m2", layers=4, parameters=9, bytes=9),
    "nvfp4": StoredFormat(weights="nvfp4", scaled=True, layers=4, parameters=9, bytes=5),
    "gguf": StoredFormat(weights="gguf", kind="Q4_K", layers=4, parameters=9, bytes=5),
    "int8": StoredFormat(weights="int8", scaled=True, layers=4, parameters=9, bytes=9),
}
EIGHT_BITS = ("fp8 plain", "fp8 scaled", "e5m2 plain")


def bare(name: str) -> str:
    """What a mode stores, without how it multiplies."""
    return name.removesuffix("_fast")


def expected(wanted: str, machine: Hardware, file: str) -> str:
    """The table of the contract in its own words, written down a second time."""
    fast = wanted.endswith("_fast")
    if wanted == "disabled" or file in ("gguf", "int8"):
        return "disabled"
    stored = bare(wanted)
    if file == "nvfp4" and not wanted.startswith("fp4"):
        stored = "fp4_scaled"
    if file == "e5m2 plain" and "e4m3fn" in wanted:
        stored = "fp8_e5m2"
    if file.startswith("fp8") and "e5m2" in wanted:
        stored = "fp8_e4m3fn" + ("_scaled" if file == "fp8 scaled" else "")
    has_cores = machine.gpus and machine.gpus[0].compute_capability >= (8, 9)
    return f"{stored}_fast" if fast and has_cores else stored


def decide(
    wanted: str, machine: Hardware, file: str, proofs: Proofs | None = None, **how: bool
) -> tuple[str, str, bool]:
    """(mode that runs, all notes, whether the file is made denser)."""
    found = effective_mode(MODES, WantedMode(name=wanted, **how), machine, FILES[file], proofs)
    return found.mode.name, "; ".join(found.notes), found.requantizes


def test_the_twelve_modes_are_there() -> None:
    assert set(ROWS) == set(MODES) and len(ROWS) == 12


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "machine", MACHINES, ids=lambda m: str(m.gpus[0].compute_capability) if m.gpus else "cpu"
)
def test_every_mode(machine: Hardware, file: str) -> None:
    for wanted in ROWS:
        mode, notes, requantizes = decide(wanted, machine, file)
        assert mode == expected(wanted, machine, file), (wanted, notes)
        assert requantizes == (wanted.startswith("fp4") and file in EIGHT_BITS)
        if mode != wanted:
            assert f"{wanted}: " in notes and mode in notes
        elif wanted == "disabled":
            assert notes == ""


@pytest.mark.parametrize("file", FILES)
def test_strict_refuses_what_a_note_would_have_told(file: str) -> None:
    for wanted, machine in product(ROWS, MACHINES):
        mode, _, _ = decide(wanted, machine, file)
        if mode == wanted:
            assert decide(wanted, machine, file, strict=True)[0] == wanted
        else:
            with pytest.raises(UserError, match="quantization .* can't run here: .*Choose auto"):
                decide(wanted, machine, file, strict=True)


NOTES = [
    (
        "fp4_scaled_fast",
        (8, 6),
        "dense",
        "FP4 not supported on this GPU: RTX 4090 has compute capability 8.6",
    ),
    (
        "fp4_scaled_fast",
        (9, 0),
        "dense",
        r"FP4 not supported on this GPU \(sm 9.0\); weights stay 4-bit, matmul in fp8",
    ),
    ("fp4_scaled", (12, 0), "fp8 scaled", r"holds FP8 \(e4m3\); it is re-quantized to real 4 bit, once"),
    ("fp8_e4m3fn_scaled", (12, 0), "fp8 plain", "no scales, one per row is computed"),
    ("fp8_e4m3fn", (12, 0), "nvfp4", "holds NVFP4, which stays as it is"),
    (
        "fp8_e4m3fn_fast",
        (12, 0),
        "gguf",
        "holds GGUF Q4_K, which no mode takes over: it is made dense for each call; disabled runs instead",
    ),
    ("fp4_scaled", (12, 0), "int8", "holds INT8, .*; disabled runs instead"),
]


@pytest.mark.parametrize(("wanted", "capability", "file", "words"), NOTES)
def test_notes_have_the_words_people_search_for(
    wanted: str, capability: tuple[int, int], file: str, words: str
) -> None:
    assert re.search(words, decide(wanted, of_card(capability), file)[1])


KEPT = [
    ("fp4_scaled", "fp8 scaled", "fp8_e4m3fn_scaled"),
    ("fp4_scaled", "fp8 plain", "fp8_e4m3fn"),
    ("fp4_scaled_fast", "fp8 scaled", "fp8_e4m3fn_scaled_fast"),
    ("fp4_experimental", "e5m2 plain", "fp8_e5m2"),
    ("fp4_scaled", "nvfp4", "fp4_scaled"),
    ("fp4_scaled", "dense", "fp4_scaled"),
]


@pytest.mark.parametrize(("wanted", "file", "mode"), KEPT)
def test_requantize_as_stored_keeps_fp8_and_says_so(wanted: str, file: str, mode: str) -> None:
    for strict in (False, True):  # it was asked for
        runs, notes, requantizes = decide(wanted, GPU, file, as_stored=True, strict=strict)
        assert (runs, requantizes) == (mode, False)
        assert ("requantize is as_stored" in notes) == (mode != wanted)


def test_a_file_may_forbid_the_fp8_matmul() -> None:
    wanted = WantedMode(name="fp8_e4m3fn_scaled_fast")
    whole = replace(FILES["fp8 scaled"], exact_layers=4)
    found = effective_mode(MODES, wanted, GPU, whole)
    assert found.mode.name == "fp8_e4m3fn_scaled" and "full_precision_matrix_mult" in found.notes[0]
    with pytest.raises(UserError, match="forbids a matmul in low precision"):
        effective_mode(MODES, replace(wanted, strict=True), GPU, whole)
    some = effective_mode(MODES, wanted, GPU, replace(whole, exact_layers=1))
    assert some.mode.name == wanted.name and "1 layers are multiplied exactly" in some.notes[0]
    exact = WantedMode(name="fp8_e4m3fn_scaled")
    assert effective_mode(MODES, exact, GPU, whole).notes == ()


AUTOMATIC = [
    ((7, 5), "dense", "disabled"),
    ((8, 0), "dense", "fp8_e4m3fn_scaled"),
    ((8, 9), "dense", "fp8_e4m3fn_scaled_fast"),
    ((9, 0), "fp8 plain", "fp8_e4m3fn_fast"),
    ((8, 6), "fp8 scaled", "fp8_e4m3fn_scaled"),
    ((12, 0), "nvfp4", "fp4_scaled_fast"),
    ((12, 0), "e5m2 plain", "fp8_e5m2_fast"),
    ((12, 0), "gguf", "disabled"),
    ((12, 0), "int8", "disabled"),
]


@pytest.mark.parametrize(("capability", "file", "mode"), AUTOMATIC)
def test_the_automatic_choice(capability: tuple[int, int], file: str, mode: str) -> None:
    machine = of_card(capability)
    for name in ("auto", "default"):
        assert decide(name, machine, file, fits_dense=False)[0] == mode
        assert decide(name, machine, file, fits_dense=True)[0] == "disabled"
    assert decide("auto", CPU, file, fits_dense=False)[0] == "disabled"


def test_the_automatic_choice_honours_the_marker() -> None:
    whole = replace(FILES["fp8 scaled"], exact_layers=4)
    found = effective_mode(MODES, WantedMode(name="auto", fits_dense=False), GPU, whole)
    assert found.mode.name == "fp8_e4m3fn_scaled"


def test_aliases_and_unknown_names() -> None:
    assert decide("fp8_scaled", GPU, "dense")[0] == "fp8_e4m3fn_scaled"
    assert decide("none", GPU, "dense")[0] == "disabled"
    for name, nearest in (("nf4", "fp4_scaled"), ("int8", "fp8_e4m3fn_scaled")):
        with pytest.raises(UserError, match=f"unknown quantization, got '{name}'.* The nearest is {nearest}"):
            decide(name, GPU, "dense")
