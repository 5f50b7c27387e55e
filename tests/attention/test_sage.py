"""The SageAttention family: which package is taken, with which arguments, on which step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.attention.fake_packages import (
    FP8,
    INT8,
    NO_KERNEL,
    SAGE_1,
    SAGE_2,
    SAGE_3,
    Fake,
    calls,
    exact,
    installed,
    place,
    states,
)
from tests.attention.test_table import machine
from wanvideo.attention import providers
from wanvideo.attention.sage3 import uses_block_mean
from wanvideo.errors import UserError
from wanvideo.registry import AttentionPlace, attention_backends

TABLE = attention_backends()
SPELLINGS = list(SAGE_3.values())


def title(name: str, **changes: Any) -> str:
    """Where the function comes from that runs at that place."""
    return TABLE[name].load(place(**changes)).__qualname__


@pytest.mark.parametrize(
    ("fakes", "taken"),
    [
        ([SAGE_2, INT8], SAGE_2),
        ([SAGE_1, INT8], INT8),  # faster than 1.x, and there is nothing to build
        ([SAGE_1, NO_KERNEL], SAGE_1),
        ([INT8], INT8),
        ([SAGE_1, INT8._replace(more="def is_available(): return False")], SAGE_1),
    ],
)
def test_sageattn_takes_the_best_provider(tmp_path: Path, fakes: list[Fake], taken: Fake) -> None:
    with installed(tmp_path, *fakes):
        assert title("sageattn") == f"{taken.module}.{taken.function}"
        assert TABLE["sageattn"].unavailable_reason(machine((8, 0))) is None
        turing = TABLE["sageattn"].unavailable_reason(machine((7, 5)))
        assert (turing is None) == (INT8.module in {fake.module for fake in fakes})


@pytest.mark.parametrize(
    ("capability", "function", "more"),
    [
        ((8, 9), FP8, {}),
        ((9, 0), f"{FP8}_sm90", {}),
        ((12, 0), FP8, {"qk_quant_gran": "per_warp"}),
    ],
)
def test_fp8_takes_the_function_of_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: Any, function: str, more: dict[str, str]
) -> None:
    monkeypatch.setattr(providers, "card_capability", lambda: capability)
    with installed(tmp_path, SAGE_2):
        TABLE["sageattn_3_fp8"].load(place())(*states(192, 128))
        assert title("sageattn_3_fp8") == f"sageattention.{function}"
        assert calls(SAGE_2)[-1]["rest"] == {"tensor_layout": "NHD", **more}


def test_fp8_needs_the_second_generation(tmp_path: Path) -> None:
    with installed(tmp_path, SAGE_1):
        reason = TABLE["sageattn_3_fp8"].unavailable_reason(machine((8, 9)))
        assert reason == f"sageattention is installed without {FP8}"
        with pytest.raises(UserError, match="sageattention is not installed with"):
            TABLE["sageattn_3_fp8"].load(place())


@pytest.mark.parametrize("first", range(len(SPELLINGS)))
def test_spellings_of_sageattention_3_are_tried_in_order(tmp_path: Path, first: int) -> None:
    with installed(tmp_path, *SPELLINGS[first:]):
        assert title("sageattn_3_fp4") == f"{SPELLINGS[first].module}.{SPELLINGS[first].function}"


@pytest.mark.parametrize("fake", SPELLINGS, ids=list(SAGE_3))
def test_sageattention_3_alone_is_enough(tmp_path: Path, fake: Fake) -> None:
    with installed(tmp_path, fake):
        for name in ("sageattn_3_fp4", "sageattn_3"):
            assert TABLE[name].unavailable_reason(machine((12, 0))) is None
            assert title(name) == f"{fake.module}.{fake.function}"
        given = states(301, 128)
        before = [tensor.clone() for tensor in given]
        attended = TABLE["sageattn_3_fp4"].load(place())(*given)
        torch.testing.assert_close(attended.float(), exact(*before), atol=2e-2, rtol=2e-2)
        assert torch.equal(given[1], before[1]) and len(calls(fake)) == 1
        assert title("sageattn_3", step=0) == TABLE["sdpa"].load(place()).__qualname__


UNAVAILABLE = SAGE_3["sage3"]._replace(more="SAGEATTN3_AVAILABLE = False")


def test_package_that_says_it_cannot_is_passed_over(tmp_path: Path) -> None:
    with installed(tmp_path, UNAVAILABLE, SAGE_3["sageattn"]):
        assert title("sageattn_3_fp4") == "sageattn.sageattn_blackwell"


def test_reasons_of_all_providers_are_given(tmp_path: Path) -> None:
    broken = Fake("sageattn3", "sageattn3_blackwell", more="raise ImportError('built for another torch')")
    with (
        installed(tmp_path, UNAVAILABLE, broken),
        pytest.raises(
            UserError, match="sageattn3: built for another torch; sage3: SAGEATTN3_AVAILABLE is False"
        ),
    ):
        TABLE["sageattn_3_fp4"].load(place())


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_only_the_inner_steps_are_in_4_bits(tmp_path: Path, steps: int) -> None:
    with installed(tmp_path, SAGE_2, SAGE_3["sageattn3"]):
        taken = [title("sageattn_3", step=step, steps=steps) for step in range(steps)]
        always = [title("sageattn_3_fp4", step=step, steps=steps) for step in range(steps)]
    inner = "sageattn3.sageattn3_blackwell"
    assert taken == ["sageattention.sageattn"] * min(1, steps) + [inner] * (steps - 2) + [
        "sageattention.sageattn"
    ] * (steps > 1)
    assert always == [inner] * steps


@pytest.mark.parametrize(
    ("asked", "tokens", "expected"),
    [("auto", 16_384, True), ("auto", 16_385, False), ("on", 75_600, True), ("off", 128, False)],
)
def test_block_mean_follows_the_option(tmp_path: Path, asked: str, tokens: int, expected: bool) -> None:
    here = AttentionPlace(frames=1, frame_tokens=tokens, per_block_mean=asked)
    assert uses_block_mean(here) == expected
    fake = SAGE_3["sageattn3"]
    with installed(tmp_path, fake):
        TABLE["sageattn_3_fp4"].load(here)(*states(128, 64))
        assert calls(fake)[-1]["rest"] == {"per_block_mean": expected}


def test_both_means_live_side_by_side(tmp_path: Path) -> None:
    fake = SAGE_3["sageattn3"]
    with installed(tmp_path, fake):
        fine, coarse = (TABLE["sageattn_3_fp4"].load(place(per_block_mean=word)) for word in ("on", "off"))
        for attention in (fine, coarse, fine):
            attention(*states(128, 64))
        assert [call["rest"]["per_block_mean"] for call in calls(fake)] == [True, False, True]


def test_padding_that_a_kernel_leaves_is_cut(tmp_path: Path) -> None:
    padded = "torch.nn.functional.pad(attended, (0, 0, 0, -attended.shape[2] % 128))"
    with installed(tmp_path, Fake("sageattn3", "sageattn3_blackwell", "HND", answer=padded)):
        given = states(301, 128)
        attended = TABLE["sageattn_3_fp4"].load(place())(*given)
        assert attended.shape == given[0].shape
        exactly = TABLE["sdpa"].load(place())(*given)
        torch.testing.assert_close(attended, exactly)
