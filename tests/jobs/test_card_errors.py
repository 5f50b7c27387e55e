"""Which errors leave a card unusable, and what is left out because of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ui.language import speaking
from ui.texts.notes import in_language
from wanvideo.errors import UserError
from wanvideo.fallback import choose
from wanvideo.finished_file import job_folder
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.card_errors import broken_note, next_suspect, sticky_error
from wanvideo.jobs.store import JobStore
from wanvideo.options import COMPILE_BLOCKS
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.proof.kept import ATTENTION, COMPILE, QUANTIZATION, MachineProofs
from wanvideo.proof.suspects import Suspect, with_suspects
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import GenerationRequest, RuntimeOptions
from wanvideo.wording import describe_plan

STAYS = {
    "CUDA error: misaligned address\nCUDA kernel errors might be reported late": "misaligned address",
    "CUDA error: an illegal memory access was encountered": "illegal memory access",
    "Triton Error [CUDA]: an illegal instruction was encountered": "illegal instruction",
    "CUDA error: device-side assert triggered": "device-side assert",
    "CUDA error: unspecified launch failure": "unspecified launch failure",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling": "cublas_status_execution_failed",
}
PASSES = ["CUDA error: invalid argument", "CUDA error: no kernel image is available", "shape mismatch"]


@pytest.fixture
def plan(models: Path, tmp_path: Path) -> GenerationPlan:
    request = GenerationRequest(task="text_to_video", model="tiny_t2v", prompt="a red ball", seed=1)
    options = RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path))
    return prepare(request, options)[0]


@pytest.mark.parametrize("text", STAYS)
def test_errors_that_stay_are_known_by_their_words(text: str) -> None:
    kinds = [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)]
    for kind in kinds:
        assert sticky_error(kind(text)) == STAYS[text]


@pytest.mark.parametrize("text", PASSES)
def test_others_do_not_cost_the_process(text: str) -> None:
    assert sticky_error(RuntimeError(text)) is None
    assert sticky_error(ValueError("misaligned address")) is None, "a word is no error of the card"


def test_an_error_of_tidying_up_does_not_hide_the_first() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise RuntimeError("CUDA error: misaligned address")
        finally:
            raise RuntimeError("the block could not be put back")
    assert sticky_error(caught.value) == "misaligned address"


def test_attention_is_suspected_first_then_compiled_code_then_the_matmul_then_nothing(
    plan: GenerationPlan,
) -> None:
    foreign = next(row for row in attention_backends().values() if row.fallback is not None)
    fast = next(row for row in quantization_modes().values() if row.fallback is not None)
    compiled = replace(plan.compile, blocks=True)
    running = replace(plan, attention=foreign.name, quantization=fast.name, compile=compiled)
    known: list[Suspect] = []
    for kind, name in ((ATTENTION, foreign.name), (COMPILE, COMPILE_BLOCKS), (QUANTIZATION, fast.name)):
        suspect = next_suspect(running, known, "misaligned address")
        assert suspect is not None and (suspect.kind, suspect.name) == (kind, name)
        known.append(suspect)
    assert next_suspect(running, known, "misaligned address") is None
    assert next_suspect(plan, [], "misaligned address") is None, "what is exact is above suspicion"


def test_each_row_that_is_suspected_gives_way_to_its_fallback_and_says_why() -> None:
    machine, why = probe_hardware(), "a job ended with a CUDA error"
    nothing = MachineProofs(attention={}, quantization={})
    tables = ((ATTENTION, attention_backends()), (QUANTIZATION, quantization_modes()))
    for kind, table in tables:
        usable = {name: replace(row, unavailable_reason=lambda _: None) for name, row in table.items()}
        for name, row in usable.items():
            proofs = with_suspects(nothing, [Suspect(kind=kind, name=name, reason=why)])
            known = proofs.attention if kind == ATTENTION else proofs.quantization
            if row.fallback is None:
                continue
            notes: list[str] = []
            assert choose(usable, name, kind, machine, False, notes, known).name == row.fallback
            assert notes == [f"{name}: {why}; {row.fallback} runs instead"]


def test_suspected_compiled_code_is_left_out_of_every_plan(models: Path, tmp_path: Path) -> None:
    request = GenerationRequest(task="text_to_video", model="tiny_t2v", prompt="a red ball", seed=1)
    folders = {"models_dir": str(models), "output_dir": str(tmp_path)}
    options = RuntimeOptions(compile=COMPILE_BLOCKS, **folders)
    (running,) = prepare(request, options)
    suspect = next_suspect(running, [], "misaligned address")
    assert running.compile.blocks and suspect is not None
    (careful,) = prepare(request, options, suspects=[suspect])
    assert not careful.compile.blocks and "misaligned address" in careful.compile.reason
    notes = [note for note in careful.notes if "misaligned address" in note]
    assert len(notes) == 1 and job_folder(careful).path.name == job_folder(running).path.name
    assert next_suspect(careful, [suspect], "misaligned address") is None
    with speaking("zh"):
        assert "CUDA" in in_language(notes[0]) != notes[0]
        told = in_language(broken_note(suspect, "misaligned address", 2))
    assert "编译" in told and "compiled" in broken_note(suspect, "misaligned address", 2)
    with pytest.raises(UserError, match="misaligned address"):
        prepare(request, replace(options, strict=True), suspects=[suspect])


def test_a_plan_hears_of_suspects(
    models: Path, tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = next(row for row in attention_backends().values() if row.fallback is not None)
    usable = replace(foreign, unavailable_reason=lambda _: None)
    monkeypatch.setitem(attention_backends(), foreign.name, usable)
    store.suspect(Suspect(kind=ATTENTION, name=foreign.name, reason="it broke"))
    store.suspect(Suspect(kind=ATTENTION, name=foreign.name, reason="a job broke"))
    assert [suspect.reason for suspect in store.suspects()] == ["a job broke"]
    request = GenerationRequest(task="text_to_video", model="tiny_t2v", prompt="a red ball", seed=1)
    options = RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path), attention=foreign.name)
    (trusting,), (careful,) = (
        prepare(request, options, suspects=suspects) for suspects in ((), store.suspects())
    )
    assert trusting.attention == foreign.name != careful.attention
    assert any("a job broke" in note for note in careful.notes) and list(describe_plan(careful))
