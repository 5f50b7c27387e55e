"""Matmul kernels that crash, hang and lie: each gets its verdict in a process of its own."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof import fake_kernels
from tests.proof.fake_kernels import FAST, FP4, FP8, WITH_CORES
from tests.proof.fake_provider import CPU, kept
from wanvideo.cache_folder import VARIABLE
from wanvideo.proof import prove
from wanvideo.proof.isolated import Ending, run_isolated
from wanvideo.proof.kept import QUANTIZATION, read_proofs, trial_of
from wanvideo.proof.prove import prove_mode, try_together
from wanvideo.registry import quantization_modes

PLAIN = [row.name for row in quantization_modes().values() if row.fallback is None]
EIGHT_BITS = next(row for row in FAST.values() if row.cores is None)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the fake kernels are installed in; the cache is empty."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    fake_kernels.install(tmp_path / "site", monkeypatch)
    return tmp_path / "site"


def test_right_kernels_are_used_and_timed(site: Path) -> None:
    proof = prove_mode(WITH_CORES, CPU)
    assert proof.usable and proof.on_cores and proof.reason == proof.cores_reason == ""
    assert proof.computed_by == "scaled_nvfp4"
    assert proof.error == pytest.approx(0.095, rel=0.1) and proof.stored_percent == pytest.approx(
        28.125, 0.01
    )
    assert proof.milliseconds and proof.peer_milliseconds and proof.dense_milliseconds
    assert len(kept(site)) == 1
    assert prove_mode(WITH_CORES, CPU) == proof and read_proofs(CPU).quantization == {proof.name: proof}


CORES_FAIL = {
    "crashes": "it crashed (SIGSEGV)",
    "lies": "its result is not the product: error 0.2",
    "is_absent": "ImportError: libcublasLt.so.13: cannot open shared object file",
    "is_slow": "slower with them, 5",
}


@pytest.mark.parametrize("how", CORES_FAIL)
def test_without_its_own_cores_the_mode_still_runs(
    site: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv(FP4, how)
    proof = prove_mode(WITH_CORES, CPU)
    assert proof.usable and not proof.on_cores
    assert proof.cores_reason.startswith(CORES_FAIL[how])
    assert proof.computed_by == "four_to_eight" and proof.error == pytest.approx(0.1, rel=0.1)
    assert len(kept(site)) == 1


def test_cores_that_hang_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FP4, "hangs")
    begun = time.monotonic()
    outcome = prove._try(replace(trial_of(QUANTIZATION, WITH_CORES.name, CPU), cores=True), 3)
    assert outcome.reason == "it gave no answer within 3 seconds"
    assert time.monotonic() - begun < 6


FP8_FAILS = {
    "crashes": "it crashed (SIGABRT)",
    "raises": "RuntimeError: CUBLAS_STATUS_NOT_SUPPORTED when calling",
    "lies": "its result is not the product: error 0.",
}


@pytest.mark.parametrize("how", FP8_FAILS)
def test_mode_whose_fp8_product_fails_is_not_usable(
    site: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv(FP8, how)
    proof = prove_mode(EIGHT_BITS, CPU)
    assert not proof.usable and proof.reason.startswith(FP8_FAILS[how])
    assert read_proofs(CPU).quantization == {proof.name: proof} and len(kept(site)) == 1


def test_four_bits_need_the_fp8_product_beside_their_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may keep some layers in 8 bits, and they are multiplied so."""
    monkeypatch.setenv(FP8, "raises")
    proof = prove_mode(WITH_CORES, CPU)
    assert not proof.usable and not proof.on_cores and "CUBLAS" in proof.reason


def test_modes_that_dequantize_share_a_process_and_survive_one_that_ends_it(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FP8, "crashes")
    names = [PLAIN[0], EIGHT_BITS.name, *PLAIN[1:]]
    processes: list[Sequence[str]] = []

    def count(arguments: Sequence[str], timeout: float) -> Ending:
        processes.append(arguments)
        return run_isolated(arguments, timeout)

    monkeypatch.setattr(prove, "run_isolated", count)
    proofs = try_together(names, CPU)
    assert {name: proof.reason for name, proof in proofs.items()} == {
        name: "it crashed (SIGABRT)" if name == EIGHT_BITS.name else "" for name in names
    }
    assert all(proof.error is not None and proof.error < 0.1 for proof in proofs.values() if proof.usable)
    assert len(processes) == 2 and kept(site) == []
