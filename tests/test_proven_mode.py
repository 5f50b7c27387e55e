"""Which quantization mode runs, from what trials on the machine have shown: every mode, machine and file."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.plan_cases import NOTHING, REAL
from tests.test_effective_mode import AUTOMATIC, FILES, MACHINES, MODES, ROWS, bare, decide, expected, of_card
from wanvideo import prepare
from wanvideo.cache_folder import VARIABLE
from wanvideo.effective_mode import Proofs, WantedMode, effective_mode, next_untried_mode
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.lending import JobModels
from wanvideo.model_cache import ModelCache
from wanvideo.plan import GenerationPlan, make_plan
from wanvideo.proof.kept import MachineProofs, MatmulProof
from wanvideo.registry import QuantizationMode
from wanvideo.request import read_options, read_request

FAST = [name for name, row in MODES.items() if row.fallback is not None]
BLACKWELL = of_card((12, 0))


def proof(name: str, *, reason: str = "", ratio: float = 2.0, cores_reason: str = "") -> MatmulProof:
    """`ratio`: how many times as fast as the fallback."""
    return MatmulProof(
        name=name,
        usable=not reason,
        reason=reason,
        milliseconds=None if reason else 1.0,
        peer_milliseconds=None if reason else ratio,
        on_cores=not reason and not cores_reason,
        cores_reason=cores_reason,
        versions={},
    )


def proofs(**how: float | str) -> Proofs:
    """Of all fast modes, alike."""
    return {name: proof(name, **how) for name in FAST}


CRASH = "it crashed (SIGSEGV)"


@pytest.mark.parametrize("file", FILES)
def test_mode_that_failed_its_trial_is_stepped_over(file: str) -> None:
    for wanted, machine in product(ROWS, MACHINES):
        runs = expected(wanted, machine, file)
        assert decide(wanted, machine, file, proofs())[0] == runs
        assert decide(wanted, machine, file, {})[0] == runs  # not tried yet: it was asked for
        mode, notes, _ = decide(wanted, machine, file, proofs(reason=CRASH))
        assert mode == bare(runs)
        told = f"{runs}: in a test on this machine {CRASH}; {mode} runs instead"
        assert (told in notes) == (runs in FAST)
        others = {name: proof(name, reason=CRASH) for name in FAST if name != runs}
        assert decide(wanted, machine, file, others)[0] == runs
        if runs in FAST:
            with pytest.raises(UserError, match="can't run here: .*Choose auto"):
                decide(wanted, machine, file, proofs(reason=CRASH), strict=True)


@pytest.mark.parametrize(("capability", "file", "mode"), AUTOMATIC)
def test_auto_takes_a_fast_mode_only_with_a_good_proof(
    capability: tuple[int, int], file: str, mode: str
) -> None:
    machine = of_card(capability)

    def automatic(known: Proofs) -> tuple[str, str]:
        return decide("auto", machine, file, known, fits_dense=False)[:2]

    assert automatic(proofs())[0] == mode
    words = {
        "in a test on this machine it lies": proofs(reason="it lies"),
        "not tested on this machine yet": {},
        "it was slower than": proofs(ratio=0.9),
    }
    for told, known in words.items():
        found, notes = automatic(known)
        assert found == bare(mode)
        assert (f"{mode}: " in notes and told in notes) == (mode in FAST)
    assert decide("auto", machine, file, {}, fits_dense=True)[:2] == ("disabled", "")


def test_slower_mode_runs_when_asked_for() -> None:
    for name in FAST:
        assert decide(name, BLACKWELL, "dense", proofs(ratio=0.5), strict=True)[0] == name


OWN_CORES = [
    # capability, proofs, whether the mode's own cores multiply, words of the note
    ((8, 9), proofs(), False, r"FP4 not supported on this GPU \(sm 8.9\); weights stay 4-bit, matmul in fp8"),
    ((12, 0), None, True, ""),
    ((10, 0), proofs(), True, ""),
    ((12, 0), {}, False, "FP4 tensor cores not tested on this machine yet .*; weights stay 4-bit, matmul in"),
    (
        (12, 0),
        proofs(cores_reason=CRASH),
        False,
        r"FP4 tensor cores failed here: it crashed \(SIGSEGV\); weights stay 4-bit, matmul in fp8",
    ),
]


@pytest.mark.parametrize(("capability", "known", "used", "words"), OWN_CORES)
def test_own_cores_are_used_where_a_trial_went_well(
    capability: tuple[int, int], known: Proofs | None, used: bool, words: str
) -> None:
    for name, row in MODES.items():
        for strict in (False, True):  # the mode that was asked for runs
            wanted = WantedMode(name=name, strict=strict)
            found = effective_mode(MODES, wanted, of_card(capability), FILES["dense"], known)
            assert found.mode.name == name
            assert found.own_cores == (used and row.cores is not None)
            assert re.search(words, "; ".join(found.notes)) if row.cores else not found.notes


def walk(wanted: WantedMode, machine: Hardware, file: str, outcomes: Proofs) -> list[str]:
    """Names in the order in which they are tried until the choice is clear."""
    known: dict[str, MatmulProof] = {}
    while (row := next_untried_mode(MODES, wanted, machine, FILES[file], known)) is not None:
        assert row.name not in known
        known[row.name] = outcomes[row.name]
    return list(known)


@pytest.mark.parametrize("file", FILES)
def test_only_what_would_run_is_tried_once(file: str) -> None:
    for wanted, machine, strict in product((*ROWS, "auto"), MACHINES, (False, True)):
        asked = WantedMode(name=wanted, strict=strict, fits_dense=False)
        best = effective_mode(MODES, replace(asked, strict=False), machine, FILES[file]).mode.name
        for outcomes in (proofs(), proofs(reason=CRASH), proofs(ratio=0.5)):
            assert walk(asked, machine, file, outcomes) == ([best] if best in FAST else [])


WITH_CORES = next(row for row in MODES.values() if row.cores is not None)


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modes that `prepare` tries; they work, but not on their own cores."""
    names: list[str] = []

    def prove_mode(row: QuantizationMode, _: Hardware) -> MatmulProof:
        names.append(row.name)
        return proof(row.name, cores_reason=CRASH)

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(prepare, "prove_mode", prove_mode)
    monkeypatch.setattr(prepare, "attention_backends", dict)
    monkeypatch.setattr(prepare, "next_untried", lambda *_: None)
    return names


@pytest.mark.parametrize("name", [*FAST, "disabled", "auto"])
def test_plan_to_be_carried_out_tries_what_it_needs(tried: list[str], name: str) -> None:
    options = read_options({"quantization": name})
    assert prepare._proofs(options, REAL, BLACKWELL, False).quantization == {}
    assert tried == []
    assert list(prepare._proofs(options, REAL, BLACKWELL, True).quantization) == tried
    assert tried == ([name] if name in FAST else [])


def planned(known: MatmulProof) -> GenerationPlan:
    request = read_request({"task": "text_to_video", "seed": 7})
    options = read_options({"quantization": WITH_CORES.name, "attention": "sdpa"})
    proofs = MachineProofs(attention={}, quantization={known.name: known})
    return make_plan(request, options, NOTHING, REAL, BLACKWELL, Path("out.mp4"), proofs)


OUTCOMES = {
    "good": (proof(WITH_CORES.name), WITH_CORES.name, "scaled_nvfp4", ""),
    "no cores": (
        proof(WITH_CORES.name, cores_reason=CRASH),
        WITH_CORES.name,
        "four_to_eight",
        "FP4 tensor cores failed here",
    ),
    "nothing": (proof(WITH_CORES.name, reason=CRASH), WITH_CORES.fallback, "dequantized", "it crashed"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_the_trial_showed_reaches_the_linear(outcome: str) -> None:
    known, mode, multiply, words = OUTCOMES[outcome]
    plan = planned(known)
    assert plan.quantization == mode and words in "; ".join(plan.notes)
    job = JobModels(
        files=REAL,
        cache=ModelCache(),
        device="cpu",
        dtype=torch.bfloat16,
        quantization=plan.quantization,
        own_cores=plan.own_cores,
    )
    row = job._mode()
    assert row.store is not None
    assert row.make_linear(row.store(torch.randn(16, 32)), None, torch.bfloat16).multiply.__name__ == multiply
