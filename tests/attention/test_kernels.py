"""Every provider through its wrapper, over fake packages: right result, right form, untouched arguments."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.attention.fake_packages import CASES, NO_KERNEL, Case, calls, exact, installed, place, states
from wanvideo.registry import attention_backends

TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 4e-3, torch.float32: 2e-2}  # fp32 is computed in bf16
# each is a number of tokens and a head_dim
SIZES = [(129, 64), (301, 128), (130, 80), (100, 128), (192, 64), (511, 64), (128, 256)]


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with installed(tmp_path, NO_KERNEL, request.param.fake):
        yield request.param


def load(case: Case, **changes: Any) -> Any:
    return attention_backends()[case.backend].load(place(**changes))


@pytest.mark.parametrize(("tokens", "head_dim"), SIZES)
def test_result_is_exact_and_arguments_are_unchanged(case: Case, tokens: int, head_dim: int) -> None:
    attention = load(case)
    for dtype, tolerance in TOLERANCE.items():
        given = states(tokens, head_dim, dtype)
        before = [tensor.clone() for tensor in given]
        attended = attention(*given)
        assert attended.dtype == dtype and attended.is_contiguous()
        torch.testing.assert_close(attended.float(), exact(*before), atol=tolerance, rtol=tolerance)
        for tensor, copy in zip(given, before, strict=True):
            assert torch.equal(tensor, copy)
    assert [call["dtype"] for call in calls(case.fake)] == (
        [torch.bfloat16, torch.float16, torch.bfloat16] if case.takes(tokens, head_dim) else []
    )


def test_kernel_gets_the_layout_it_wants(case: Case) -> None:
    load(case)(*states(192, 128))
    (call,) = calls(case.fake)
    assert call["shape"] == ((1, 2, 192, 128) if case.fake.layout == "HND" else (1, 192, 2, 128))
    assert call["dense"]
    assert call["contiguous"] or case.fake.module.startswith("comfy_kitchen")  # which takes any strides
    assert call["function"] == case.fake.function


@pytest.mark.parametrize("heads", [1, 2])
def test_strided_arguments_are_taken(case: Case, heads: int) -> None:
    """Slices of one projection, a heads-first view, and one head: where a layout change copies nothing."""
    joined = torch.cat(states(192, 128, heads=heads), dim=-1)
    slices = joined.split(128, dim=-1)
    views = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in states(192, 128, heads=heads)]
    for given in (slices, views, states(192, 128, heads=heads)):
        before = [tensor.clone() for tensor in given]
        torch.testing.assert_close(load(case)(*given).float(), exact(*before), atol=2e-2, rtol=2e-2)
        assert all(torch.equal(tensor, copy) for tensor, copy in zip(given, before, strict=True))


def test_queries_and_keys_may_differ_in_number(case: Case) -> None:
    query, key, value = *states(150, 128)[:1], *states(260, 128)[1:]
    attended = load(case)(query, key, value)
    torch.testing.assert_close(attended.float(), exact(query, key, value), atol=2e-2, rtol=2e-2)


def test_short_keys_count_too(case: Case) -> None:
    load(case)(*states(150, 128)[:1], *states(100, 128)[1:])
    assert len(calls(case.fake)) == case.takes(100, 128)


@pytest.mark.parametrize("tokens", [192, 100])
def test_compiles_without_a_break(case: Case, tokens: int) -> None:
    attention = load(case)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention(query * 2, key + 1, value).flatten(2) * 3

    torch._dynamo.reset()  # the cases share `attend`, and a function is compiled for a few variants only
    given = states(tokens, 128, heads=1)
    before = [tensor.clone() for tensor in given]
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), attend(*before))
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given, before, strict=True))


def test_equal_places_share_a_function(case: Case) -> None:
    """Compiled blocks are compiled again for another function."""
    assert load(case) is load(case, block=2, speakers=1)
    assert load(case).__qualname__ == f"{case.fake.module}.{case.fake.function}"
