"""What the options come to on a machine, and the note for each that comes to nothing."""

from dataclasses import fields, replace
from typing import Any

import pytest

from tests.plan_cases import CARD, CPU, DUET, GPU, NOTHING, PAIR, REAL, SPEECH, SPOKEN, TEXT, Values, plan
from wanvideo import decided_options
from wanvideo.effective_mode import StoredFormat
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.models.rms_norm import RMS_NORMS
from wanvideo.registry import attention_backends
from wanvideo.request import OPTION_FIELDS
from wanvideo.torch_switches import TorchSwitches

TURING = replace(GPU, gpus=(replace(CARD, compute_capability=(7, 5)),))
PASCAL = replace(GPU, gpus=(replace(CARD, compute_capability=(6, 1)),))
BLACKWELL = replace(GPU, gpus=(replace(CARD, compute_capability=(12, 0)),))
NOTHING_ON = TorchSwitches()
FAST = {"base_precision": "fp16_fast"}
FUSED = {"fuse_qkv_projections": True}
NO_NORM = "rms_norm_function pytorch has no effect in fp32"
NO_TF32 = "use_tf32 has no effect without a card of compute capability 8.0 or higher"
NO_CARD = "fp16_fast: sums in fp16 need an NVIDIA card; it runs as fp16"


def made_on(machine: Hardware, options: Values, models: Any = REAL) -> Any:
    """With exact attention: which other backend would run is not the matter here."""
    return plan(TEXT, machine=machine, models=models, options={"attention": "sdpa", **options})


@pytest.mark.parametrize(
    ("machine", "options", "switches", "notes"),
    [
        (GPU, {}, NOTHING_ON, ()),
        (GPU, FAST, TorchSwitches(fp16_accumulation=True), ()),
        (GPU, {"base_precision": "fp16"}, NOTHING_ON, ()),
        (CPU, FAST, NOTHING_ON, (NO_CARD,)),
        (replace(GPU, torch_has_cuda=False), FAST, NOTHING_ON, (NO_CARD,)),
        (GPU, {"use_tf32": True}, TorchSwitches(tf32=True), ()),
        (TURING, {"use_tf32": True}, NOTHING_ON, (NO_TF32,)),
        (CPU, {"use_tf32": True}, NOTHING_ON, (NO_TF32,)),
        (TURING, {"use_cublas_gemm": True}, TorchSwitches(cublaslt=True), ()),
        (
            CPU,
            {"use_cublas_gemm": True},
            NOTHING_ON,
            ("use_cublas_gemm has no effect without an NVIDIA card",),
        ),
        (
            CPU,
            {"rms_norm_function": "apex"},
            NOTHING_ON,
            (NO_NORM,),
        ),
        (GPU, {"rms_norm_function": "fast"}, NOTHING_ON, ()),
    ],
)
def test_switches_follow_option_and_machine(
    machine: Hardware, options: Values, switches: TorchSwitches, notes: tuple[str, ...]
) -> None:
    made = made_on(machine, options)
    assert made.switches == switches
    assert made.notes == notes
    told = made.effective()
    names = {"fp16_accumulation": "fp16_accumulation", "tf32": "use_tf32", "cublaslt": "use_cublas_gemm"}
    assert set(names) == {item.name for item in fields(TorchSwitches)}
    assert all(told[name] == getattr(switches, own) for own, name in names.items())


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "card"])
def test_fp16_fast_is_the_dtype_fp16(machine: Hardware) -> None:
    assert made_on(machine, FAST).dtype == made_on(machine, FAST).effective()["dtype"] == "fp16"


def test_a_torch_without_sums_in_fp16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_options, "torch_version", lambda: (2, 6))
    made = made_on(GPU, FAST)
    assert not made.switches.fp16_accumulation
    assert made.notes == ("fp16_fast: PyTorch 2.6 has no sums in fp16, 2.7 has them; it runs as fp16",)


def test_strict_refuses_what_would_run_as_another() -> None:
    with pytest.raises(UserError, match="base_precision fp16_fast can't run here: sums in fp16 need"):
        made_on(CPU, {**FAST, "strict": True})


@pytest.mark.parametrize("name", ["fuse_qkv_projections", "force_contiguous_tensors"])
def test_what_runs_anywhere_is_told_without_a_note(name: str) -> None:
    made = made_on(CPU, {name: True})
    assert made.effective()[name] is True and made.notes == ()
    assert made_on(CPU, {}).effective()[name] is False


def test_norm_of_the_option_is_told_and_known_to_the_model() -> None:
    assert set(OPTION_FIELDS["rms_norm_function"].choices) == set(RMS_NORMS)
    assert OPTION_FIELDS["rms_norm_function"].default in RMS_NORMS
    for name in RMS_NORMS:
        assert made_on(GPU, {"rms_norm_function": name}).effective()["rms_norm_function"] == name


def models_of(stored: StoredFormat) -> Any:
    return replace(REAL, transformer=replace(REAL.transformer, stored=stored))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (StoredFormat(), False),
        (StoredFormat(weights="e4m3", scaled=True, layers=4), False),
        (StoredFormat(weights="nvfp4", others=("e4m3",), layers=4), True),
        (StoredFormat(weights="gguf", layers=4), True),
    ],
)
def test_fusing_says_where_a_file_may_not_allow_it(stored: StoredFormat, said: bool) -> None:
    made = made_on(CPU, FUSED, models_of(stored))
    assert made.fuse_qkv_projections
    assert any("only where query, key and value are stored alike" in note for note in made.notes) == said
    assert not any("stored alike" in note for note in made_on(CPU, {}, models_of(stored)).notes)


def test_fusing_comes_to_nothing_on_fp4_cores() -> None:
    on_cores = made_on(BLACKWELL, {**FUSED, "quantization": "fp4_scaled_fast"})
    assert on_cores.own_cores and not on_cores.fuse_qkv_projections
    assert "fuse_qkv_projections has no effect: each weight has its own scale" in on_cores.notes[-1]
    elsewhere = made_on(GPU, {**FUSED, "quantization": "fp4_scaled_fast"})
    assert elsewhere.fuse_qkv_projections and not elsewhere.own_cores


@pytest.fixture
def every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """All backends, as if their packages were here."""
    table = {
        name: replace(row, unavailable_reason=lambda _: None) for name, row in attention_backends().items()
    }
    monkeypatch.setattr("wanvideo.ways.attention_backends", lambda: table)


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize("name", attention_backends())
def test_block_mean_without_effect_is_told(name: str) -> None:
    own = name in ("sageattn_3", "sageattn_3_fp4")
    for asked in ("auto", "on", "off"):
        made = plan(TEXT, options={"attention": name, "per_block_mean": asked})
        said = f"per_block_mean has no effect with {name}, it belongs to SageAttention 3" in made.notes
        assert said == (asked != "auto" and not own)


@pytest.mark.usefixtures("every_backend")
def test_radial_says_where_it_is_dense() -> None:
    radial = {"attention": "radial_sage_attention"}
    two = "radial_sage_attention: with two speakers all of it is dense and exact"
    few = "radial_sage_attention: the first 2 steps are dense and exact, here that is all"
    for asked, facts, said in (
        (PAIR, DUET, two),
        (SPEECH, SPOKEN, ""),
        ({**SPEECH, "steps": 2}, SPOKEN, few),
        ({**TEXT, "audio": ["a.wav", "b.wav"]}, NOTHING, ""),
    ):
        remarks = [note for note in plan(asked, facts, options=radial).notes if note.startswith("radial")]
        assert len(remarks) == bool(said) and all(note.startswith(said) for note in remarks)


@pytest.mark.usefixtures("every_backend")
def test_sage_3_says_where_no_step_is_in_4_bits() -> None:
    for steps in (2, 3):
        made = plan({**TEXT, "steps": steps}, options={"attention": "sageattn_3"})
        assert any("the first and the last step, here that is all" in note for note in made.notes) == (
            steps == 2
        )


@pytest.mark.parametrize(
    ("machine", "runs"),
    [(GPU, "fp16"), (BLACKWELL, "fp16"), (TURING, "fp16"), (PASCAL, "fp32"), (CPU, "fp32")],
)
def test_the_vae_is_in_fp16_where_a_card_is_fast_in_it(machine: Hardware, runs: str) -> None:
    made = made_on(machine, {})
    assert made.vae_dtype == made.effective()["vae_precision"] == runs
    assert not any("vae_precision" in note for note in made.notes)
    for asked in ("fp16", "fp32"):
        made = made_on(machine, {"vae_precision": asked})
        assert made.vae_dtype == asked
        slow = machine is CPU and asked == "fp16"
        assert any("ten times as long on a CPU" in note for note in made.notes) == slow


@pytest.mark.parametrize(("machine", "runs"), [(GPU, "bf16"), (CPU, "bf16"), (TURING, "fp32")])
def test_the_vae_in_bf16_wants_a_card_that_has_it(machine: Hardware, runs: str) -> None:
    made = made_on(machine, {"vae_precision": "bf16"})
    assert made.vae_dtype == made.effective()["vae_precision"] == runs
    assert any("vae_precision bf16 needs" in note for note in made.notes) == (runs == "fp32")
