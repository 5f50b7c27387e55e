"""Emulated low-precision attention against exact softmax in float64, and against the method written out."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tools.emulation import tiles
from tools.emulation.formats import quantize_int8, round_e4m3, round_nvfp4
from tools.emulation.fp4_attention import FirstScale, Fp4Settings, attend, round_chances
from tools.emulation.fp8_attention import attend_fp8, attend_fp16

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
LEAST_COSINE: dict[Attend, float] = {attend: 0.988, attend_fp8: 0.999, attend_fp16: 0.9997}
METHODS = pytest.mark.parametrize("method", LEAST_COSINE, ids=lambda method: method.__name__)
GRID = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)


def states(
    tokens: int, head_dim: int = 64, offset: float = 3.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """(1, tokens, 2, head_dim) as a video's: like queries meet like keys, channels of both lie off zero, and
    neighbours have values that are alike.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(length: int) -> Tensor:
        return torch.randn(1, length, 2, head_dim, generator=generator)

    content = noise(tokens)
    query = content + noise(tokens) + offset * noise(1)
    key = content + noise(tokens) + offset * noise(1)
    value = noise(tokens).cumsum(dim=1)
    value = value / value.square().mean(dim=1, keepdim=True).sqrt()
    return query.to(dtype), key.to(dtype), value.to(dtype)


def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v in float64."""
    scores = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) / query.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), value.double())


def cosine(made: Tensor, true: Tensor) -> float:
    return float(cosine_similarity(made.double().flatten(), true.double().flatten(), dim=0))


def error(made: Tensor, true: Tensor) -> float:
    return float((made.double() - true.double()).norm() / true.double().norm())


def nvfp4_by_hand(values: Tensor, *, keeps_scale: bool = False) -> Tensor:
    """The nearest of all codes under e4m3(amax / 6), in float64; `keeps_scale` divides by the scale before it
    is rounded.
    """
    blocks = values.double().unflatten(1, (-1, 16))
    wanted = blocks.abs().amax(dim=2, keepdim=True) / 6
    kept = wanted.float().to(torch.float8_e4m3fn).double()
    step = (wanted if keeps_scale else kept).clamp(min=1e-30)
    nearest = ((blocks.abs() / step)[..., None] - GRID).abs().argmin(dim=-1)
    return (GRID[nearest] * blocks.sign() * kept).flatten(1)


@METHODS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_result_is_near_the_exact_one(method: Attend, dtype: torch.dtype, head_dim: int) -> None:
    given = states(515, head_dim, dtype=dtype)
    assert LEAST_COSINE[method] < cosine(method(*given), exact(*given)) < 0.999999


def test_fewer_bits_lose_more() -> None:
    given = states(515)
    losses = [error(method(*given), exact(*given)) for method in (attend, attend_fp8, attend_fp16)]
    assert losses[0] > 2 * losses[1] and losses[1] > 1.3 * losses[2]


@METHODS
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (127, 127), (129, 129), (300, 300), (130, 77)])
def test_odd_lengths_and_untouched_arguments(method: Attend, queries: int, keys: int) -> None:
    query, key, value = states(300)
    given = query[:, :queries], key[:, :keys], value[:, :keys]
    before = [tensor.clone() for tensor in given]
    attended = method(*given)
    assert attended.shape == given[0].shape and attended.dtype == torch.float32 and attended.is_contiguous()
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
    assert cosine(attended, exact(*given)) > 0.97


@METHODS
def test_filling_is_not_attended_to(method: Attend) -> None:
    """Equal keys: the result is the mean of the values, and one more token of filling would pull it to 0."""
    query, key, _ = states(129)
    value = torch.full_like(query, 6.0)
    torch.testing.assert_close(method(query, torch.zeros_like(key), value), value, rtol=1e-3, atol=0)


@METHODS
def test_blocks_of_queries_change_nothing(method: Attend, monkeypatch: pytest.MonkeyPatch) -> None:
    given = states(700)
    whole = method(*given)
    monkeypatch.setattr(tiles, "QUERIES_AT_ONCE", 256)
    torch.testing.assert_close(method(*given), whole, rtol=1e-5, atol=1e-5)


def test_fp4_is_the_method_written_out() -> None:
    """One tile, in float64, without a running softmax."""
    query, key, value = (tensor[0, :, 0].double() for tensor in states(128))
    key = key - key.mean(dim=0)
    mean = query.mean(dim=0)
    scores = nvfp4_by_hand(query - mean) @ nvfp4_by_hand(key).T + mean @ key.T
    chances = ((scores - scores.amax(dim=1, keepdim=True)) / 8).exp()
    rounded = nvfp4_by_hand(chances * 448 * 6, keeps_scale=True) / (448 * 6)
    wanted = rounded @ nvfp4_by_hand(value.T).T / chances.sum(dim=1, keepdim=True)
    assert error(attend(*states(128))[0, :, 0], wanted) < 1e-3  # float32 may fall on the other side of a tie


def test_fp8_is_the_method_written_out() -> None:
    """Four blocks of queries and two tiles of keys, in float64; the maximum runs from the last tile on."""
    query, key, value = (tensor[0, :, 0].double() for tensor in states(128))

    def int8(states: Tensor, rows: int) -> Tensor:
        blocks = states.unflatten(0, (-1, rows))
        scale = blocks.abs().amax(dim=(1, 2), keepdim=True) / 127
        return ((blocks / scale).round() * scale).flatten(0, 1)

    def e4m3(states: Tensor) -> Tensor:
        return states.float().to(torch.float8_e4m3fn).double()

    scores = int8(query, 32) @ int8(key - key.mean(dim=0), 64).T / 8
    peak = scores.amax(dim=1, keepdim=True)
    running = torch.cat([peak.expand(-1, 64), scores[:, 64:].amax(dim=1, keepdim=True).expand(-1, 64)], dim=1)
    chances = e4m3((scores - running).exp() * 448) / 448 * (running - peak).exp()
    scale = value.abs().amax(dim=0) / 448
    wanted = chances @ (e4m3(value / scale) * scale) / (scores - peak).exp().sum(dim=1, keepdim=True)
    assert error(attend_fp8(*states(128))[0, :, 0], wanted) < 1e-3


def test_a_mean_of_all_queries_is_that_of_the_only_block() -> None:
    given = states(128)
    coarse = attend(*given, Fp4Settings(per_block_mean=False))
    torch.testing.assert_close(coarse, attend(*given))
    given = states(400)
    assert error(attend(*given, Fp4Settings(per_block_mean=False)), attend(*given)) > 1e-3


def test_smoothing_helps_where_channels_lie_off_zero() -> None:
    given = states(515)
    true = exact(*given)
    with_all = error(attend(*given), true)
    for keys, queries in ((False, True), (True, False), (False, False)):
        less = error(attend(*given, Fp4Settings(smooths_keys=keys, smooths_queries=queries)), true)
        assert less > 1.25 * with_all
    assert error(attend_fp8(*given, smooths_keys=False), true) > 1.1 * error(attend_fp8(*given), true)


def test_two_levels_of_scales_round_probabilities_better_than_one() -> None:
    generator = torch.Generator().manual_seed(0)
    chances = (4 * torch.randn(256, 128, generator=generator)).exp()
    chances /= chances.amax(dim=1, keepdim=True)
    losses = {scale: error(round_chances(chances, scale), chances) for scale in FirstScale}
    small = chances < 0.01
    kept = {scale: error(round_chances(chances, scale)[small], chances[small]) for scale in FirstScale}
    for scale in (FirstScale.RUNNING, FirstScale.BLOCK):
        assert losses[scale] < losses[FirstScale.NONE] and kept[scale] < 0.9 * kept[FirstScale.NONE]
    given = states(515)
    attended = {
        scale: error(attend(*given, Fp4Settings(first_scale=scale)), exact(*given)) for scale in FirstScale
    }
    assert max(attended[FirstScale.RUNNING], attended[FirstScale.BLOCK]) < attended[FirstScale.NONE]


def test_nvfp4_of_attention_has_no_scale_of_the_tensor() -> None:
    values = states(48)[2][0, :, 0]
    torch.testing.assert_close(round_nvfp4(values).double(), nvfp4_by_hand(values), rtol=1e-6, atol=0)
    assert round_nvfp4(torch.full((1, 16), 5000.0)).eq(448 * 6).all()  # saturates
    assert round_nvfp4(torch.full((1, 16), 1e-3)).eq(0).all()  # below e4m3's smallest scale


def test_int8_shares_a_scale_among_its_rows() -> None:
    values = states(70)[0][0, :, 0]
    codes, scale = quantize_int8(values, 32)
    assert codes.abs().amax() == 127 and torch.equal(codes, codes.round())
    for start in range(0, 70, 32):
        block = slice(start, start + 32)
        assert scale[block].unique().numel() == 1
        assert scale[start].item() == pytest.approx(float(values[block].abs().amax()) / 127)
    assert ((codes * scale - values).abs() <= scale / 2 * 1.0001).all()
    nothing, _ = quantize_int8(torch.zeros(3, 4), 32)
    assert not nothing.any()


def test_e4m3_saturates() -> None:
    assert round_e4m3(torch.tensor([1e6, -1e6, 17.0, 19.0])).tolist() == [448, -448, 16, 20]


def test_batches_and_heads_are_apart() -> None:
    query, key, value = states(140)
    joined = [torch.cat([tensor, 2 * tensor]) for tensor in (query, key, value)]
    for method, batch in itertools.product(LEAST_COSINE, range(2)):
        alone = method(*(tensor[batch : batch + 1, :, 1:] for tensor in joined))
        assert torch.equal(method(*joined)[batch : batch + 1, :, 1:], alone)
