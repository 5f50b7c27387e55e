"""NVFP4 against float64, and against comfy-kitchen, whose tensor-core kernels read what is written here."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.quantization.weights import activations, outlier_weight, random_weight, relative_error
from wanvideo.quantization import nvfp4
from wanvideo.quantization import nvfp4_layout as layout
from wanvideo.quantization.fp8 import quantize_activations
from wanvideo.quantization.matmul import four_to_eight
from wanvideo.quantization.stored import StoredWeight

SHAPES = [(16, 16), (48, 80), (128, 64), (130, 1040), (1030, 32)]
CODES = [sign * value for sign in (1, -1) for value in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)]


@pytest.fixture
def kitchen() -> Any:
    return pytest.importorskip("comfy_kitchen", reason="comfy-kitchen is not installed")


def by_hand(stored: StoredWeight) -> Tensor:
    """The weight in float64, element by element from the description of the layout."""
    (rows, columns), tensors = stored.shape, stored.tensors
    packed, flat = tensors["weight"].tolist(), tensors["weight_scale"].double().flatten().tolist()
    tiles = tensors["weight_scale"].shape[1] // 4  # beside each other
    dense = torch.empty(rows, columns, dtype=torch.float64)
    for row, column in itertools.product(range(rows), range(columns)):
        byte = packed[row][column // 2]
        code = byte >> 4 if column % 2 == 0 else byte & 15
        block = column // 16
        tile = (row // 128) * tiles + block // 4
        place = tile * 512 + (row % 32) * 16 + (row % 128 // 32) * 4 + block % 4
        dense[row, column] = CODES[code] * flat[place]
    return dense * tensors["weight_scale_2"].double()


@pytest.mark.parametrize("shape", [(16, 16), (48, 80), (130, 72), (3, 5)])
@pytest.mark.parametrize("tensor_scale", [True, False])
def test_layout_is_the_described_one(shape: tuple[int, int], tensor_scale: bool) -> None:
    stored = nvfp4.quantize(random_weight(*shape), tensor_scale=tensor_scale)
    blocks = -(-shape[1] // 16)
    assert stored.tensors["weight"].shape == (shape[0], blocks * 8)
    assert stored.tensors["weight_scale"].shape == (-(-shape[0] // 128) * 128, -(-blocks // 4) * 4)
    assert stored.tensors["weight_scale_2"].shape == ()
    torch.testing.assert_close(nvfp4.dequantize(stored, torch.float64), by_hand(stored), rtol=1e-6, atol=0)


def test_weight_is_rounded_to_the_nearest_code_under_the_nearest_scale() -> None:
    weight = outlier_weight()[:64]
    stored = nvfp4.quantize(weight)
    scale = weight.double().abs().max() / (448 * 6)
    assert stored.tensors["weight_scale_2"].item() == pytest.approx(scale.item(), rel=1e-6)
    split = weight.double().unflatten(1, (-1, 16))
    blocks = (split.abs().amax(dim=2) / 6 / scale).float().to(torch.float8_e4m3fn).double() * scale
    grid = torch.tensor(CODES, dtype=torch.float64)
    wanted = (split / blocks[..., None]).clamp(-6, 6)
    distance = (wanted[..., None] - grid).abs()
    got = nvfp4.dequantize(stored, torch.float64).unflatten(1, (-1, 16)) / blocks[..., None]
    assert ((got - wanted).abs() <= distance.amin(dim=-1) + 1e-5).all()


def test_all_values_are_exact_and_ties_go_to_the_even_code() -> None:
    assert layout.encode(torch.tensor(CODES)).tolist() == list(range(16))
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 1e9])
    assert layout.encode(ties).tolist() == [0, 2, 2, 4, 4, 6, 6, 7, 7]
    assert layout.encode(-ties).tolist() == [8, 10, 10, 12, 12, 14, 14, 15, 15]
    block = torch.tensor(CODES)[None] * 0.375
    assert torch.equal(nvfp4.dequantize(nvfp4.quantize(block), torch.float32), block)


def test_pairs_lie_high_nibble_first() -> None:
    assert layout.pack(torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8)).tolist() == [[0x12, 0xF0]]
    assert layout.unpack(torch.tensor([[0x12, 0xF0]], dtype=torch.uint8), torch.float32).tolist() == [
        [0.5, 1.0, -6.0, 0.0]
    ]
    every = torch.arange(256, dtype=torch.uint8)[None]
    values = layout.unpack(every, torch.bfloat16)
    assert torch.equal(layout.pack(layout.encode(values.float())), every)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_zero_blocks_stay_zero(dtype: torch.dtype) -> None:
    weight = random_weight(32, 64).to(dtype)
    weight[:, 16:32] = 0
    weight[5] = 0
    dense = nvfp4.dequantize(nvfp4.quantize(weight), dtype)
    assert not dense[:, 16:32].any() and not dense[5].any() and dense.isfinite().all()
    nothing = nvfp4.quantize(torch.zeros(16, 16))
    assert nothing.tensors["weight_scale_2"] == 1
    assert not nvfp4.dequantize(nothing, dtype).any()
    assert not four_to_eight(activations(2, 16), nothing, None).any()


@pytest.mark.parametrize("shape", [(1, 1), (32, 4), (128, 4), (129, 5), (300, 9)])
def test_swizzle_pads_to_tiles_and_goes_back(shape: tuple[int, int]) -> None:
    count = torch.arange(shape[0] * shape[1]) % 251
    scales = count.to(torch.uint8).view(torch.float8_e4m3fn).reshape(shape)
    tiles = layout.swizzle(scales)
    assert tiles.shape == (layout.roundup(shape[0], 128), layout.roundup(shape[1], 4))
    assert tiles.view(torch.uint8).sum() == scales.view(torch.uint8).sum()  # the padding is zeros
    assert torch.equal(layout.unswizzle(tiles, *shape).view(torch.uint8), scales.view(torch.uint8))


@pytest.mark.parametrize("shape", SHAPES)
def test_low_nibble_first_files_are_the_same_weight(shape: tuple[int, int]) -> None:
    ours = nvfp4.quantize(random_weight(*shape))
    linear = layout.unswizzle(ours.tensors["weight_scale"], shape[0], shape[1] // 16)
    theirs = layout.swap_nibbles(ours.tensors["weight"])
    assert not torch.equal(theirs, ours.tensors["weight"])
    read = nvfp4.from_low_nibble_first(theirs, linear, ours.tensors["weight_scale_2"])
    assert read.shape == shape
    for name, tensor in ours.tensors.items():
        assert torch.equal(
            read.tensors[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_comfy_kitchen_packs_the_same_bits(kitchen: Any, shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = random_weight(*shape).to(dtype)
    weight[0] = 0
    stored = nvfp4.quantize(weight)
    scale = stored.tensors["weight_scale_2"]
    packed, blocks = kitchen.quantize_nvfp4(weight, scale)
    assert torch.equal(stored.tensors["weight"], packed)
    assert torch.equal(stored.tensors["weight_scale"].view(torch.uint8), blocks.view(torch.uint8))
    low, _ = kitchen.quantize_nvfp4(weight, scale, hi_first=False)
    assert torch.equal(layout.swap_nibbles(packed), low)
    dense = kitchen.dequantize_nvfp4(packed, scale, blocks, torch.float32)
    assert torch.equal(nvfp4.dequantize(stored, torch.float32), dense)


@pytest.mark.parametrize("shape", [(32, 4), (129, 5), (300, 9)])
def test_comfy_kitchen_swizzles_the_same_way(kitchen: Any, shape: tuple[int, int]) -> None:
    scales = random_weight(*shape).to(torch.float8_e4m3fn)
    theirs = kitchen.to_blocked(scales, flatten=False)
    assert torch.equal(layout.swizzle(scales).view(torch.uint8), theirs.view(torch.uint8))


@pytest.mark.parametrize("make", [random_weight, outlier_weight])
def test_four_bits_become_eight_with_little_loss(make: Any) -> None:
    stored = nvfp4.quantize(make())
    dense = nvfp4.dequantize(stored, torch.float64)
    values, scale = nvfp4.to_fp8(stored)
    assert values.dtype == torch.float8_e4m3fn and values.double().isfinite().all()
    assert relative_error(values.double() * scale.double(), dense) < 0.025
    rows = activations(9, dense.shape[1], dtype=torch.float32)
    rounded, row_scale = quantize_activations(rows)
    exact = (rounded.double() * row_scale.double()) @ (values.double() * scale.double()).T
    torch.testing.assert_close(four_to_eight(rows, stored, None).double(), exact, rtol=1e-4, atol=1e-5)
