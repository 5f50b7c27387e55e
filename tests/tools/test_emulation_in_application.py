"""Emulations inside the application: they run where they are asked for, and leave nothing behind."""

from pathlib import Path

import pytest
import torch

from tests.attention.fake_packages import exact, place, states
from tests.plan_cases import CPU, TEXT, plan
from tests.tiny_models import write_tiny_models
from tools.emulation import w4a4
from tools.emulation.in_application import PREFIX, emulated_attention, emulated_modes
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.lending import JobModels
from wanvideo.model_cache import ModelCache
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.matmul import dequantized
from wanvideo.registry import attention_backends, quantization_modes

SEAMS = {emulated_attention: attention_backends, emulated_modes: quantization_modes}
BACKENDS = [f"{PREFIX}{name}" for name in ("sageattn", "sageattn_3_fp8", "sageattn_3", "sageattn_3_fp4")]
MODE = f"{PREFIX}fp4_scaled_fast_w4a4"
RADIAL = f"{PREFIX}radial_sage_attention"


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.__name__)
def test_nothing_stays_behind(seam: object) -> None:
    emulated, table = next((key, value) for key, value in SEAMS.items() if key is seam)
    before = list(table().items())
    with emulated():
        added = table().keys() - dict(before).keys()
        assert added and all(name.startswith(PREFIX) for name in added)
        assert list(table().items())[: len(before)] == before
    assert list(table().items()) == before
    with pytest.raises(RuntimeError, match="stopped"), emulated():
        raise RuntimeError("stopped")
    assert list(table().items()) == before


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.__name__)
def test_a_second_with_inside_is_refused_and_takes_nothing(seam: object) -> None:
    emulated, table = next((key, value) for key, value in SEAMS.items() if key is seam)
    with emulated():
        inside = list(table())
        with pytest.raises(ValueError, match="already in the table"), emulated():
            pass
        assert list(table()) == inside


@pytest.mark.parametrize("name", [*BACKENDS, RADIAL])
def test_a_plan_takes_the_emulated_backend(name: str) -> None:
    with emulated_attention():
        made = plan(TEXT, machine=CPU, options={"attention": name})
        assert made.attention == name and not any(PREFIX in note for note in made.notes)
        assert plan(TEXT, machine=CPU).attention == "sdpa"


@pytest.mark.parametrize("name", BACKENDS)
def test_the_emulated_backend_computes_in_low_precision(name: str) -> None:
    with emulated_attention():
        load = attention_backends()[name].load
    assert load(place()) is load(place())
    query, key, value = states(301, 128)
    value = value.cumsum(dim=1)
    before = key.clone()
    attended = load(place())(query, key, value)
    wanted = exact(query, key, value)
    loss = float((attended.float() - wanted).norm() / wanted.norm())
    assert 1e-3 < loss < 0.2 and attended.dtype == query.dtype and torch.equal(key, before)


def test_the_outer_steps_are_exact_where_the_real_backend_leaves_four_bits() -> None:
    with emulated_attention():
        load = attention_backends()[f"{PREFIX}sageattn_3"].load
        exactly = attention_backends()["sdpa"].load(place())
    taken = [load(place(step=step, steps=4)) is exactly for step in range(4)]
    assert taken == [True, False, False, True]


def test_the_sparse_backend_runs_its_mask_without_a_card() -> None:
    with emulated_attention():
        load = attention_backends()[RADIAL].load
    given, where = states(12 * 128, 128), {"frames": 12, "frame_tokens": 128}
    dense, sparse = load(place(**where, step=0))(*given), load(place(**where))(*given)
    torch.testing.assert_close(dense.float(), exact(*given), atol=2e-2, rtol=2e-2)
    assert not torch.allclose(sparse.float(), dense.float(), atol=5e-2)


def test_every_fast_mode_is_there_and_multiplies_as_on_a_card() -> None:
    table = quantization_modes()
    fast = {name: row for name, row in table.items() if row.fallback is not None}
    with emulated_modes():
        rows = {name: table[f"{PREFIX}{name}"] for name in fast}
    weight = torch.randn(64, 128)
    for name, row in rows.items():
        assert row.unavailable_reason(CPU) is None and fast[name].unavailable_reason(CPU) is not None
        ways = {
            mode.make_linear(mode.store(weight), None, torch.bfloat16).multiply for mode in (row, fast[name])
        }
        assert len(ways) == 1 and ways.isdisjoint({dequantized})


def test_the_emulated_mode_loads_linears_that_multiply_in_four_bits(tmp_path: Path) -> None:
    files, cache = resolve_models("talk", None, [write_tiny_models(tmp_path / "tiny")]), ModelCache()
    with emulated_modes():
        assert plan(TEXT, machine=CPU, options={"quantization": MODE}).quantization == MODE
        assert plan(TEXT, machine=CPU).quantization == "disabled"
        lender = JobModels(files=files, cache=cache, device="cpu", dtype=torch.float32, quantization=MODE)
        with lender.transformer() as model:
            linears = [part for part in model.modules() if isinstance(part, QLinear)]
    assert linears and {part.format for part in linears} == {"nvfp4"}
    suited = [part for part in linears if part.multiply is w4a4.multiply]
    assert suited and all(w4a4.multiply_for(part.stored()) is part.multiply for part in linears)
    rows = torch.randn(3, suited[0].in_features)
    assert torch.equal(suited[0](rows), w4a4.multiply(rows, suited[0].stored(), suited[0].bias))
