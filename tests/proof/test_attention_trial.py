"""The tensors of a trial tell a right kernel from one that only comes near."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wanvideo.proof.attention_trial import LEAST_COSINE, SMALL, Shape, compare, make_tensors

WAN = Shape(frames=4, frame_tokens=130, heads=2, head_dim=128)
SHAPES = {"wan": WAN, "small": SMALL}


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float = 1.0) -> Tensor:
    """In float64, by hand."""
    scores = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) * scale / math.sqrt(query.shape[3])
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value.double()).float()


def in_8_bits(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Keys and queries as INT8 with one scale a token, keys smoothed."""

    def rounded(states: Tensor) -> Tensor:
        step = states.abs().amax(-1, keepdim=True) / 127
        return (states / step).round() * step

    return attend(rounded(query), rounded(key - key.mean(1, keepdim=True)), value)


def spoiled(query: Tensor, key: Tensor, value: Tensor, part: tuple[slice, ...]) -> Tensor:
    attended = attend(query, key, value)
    attended[part] = value[part]
    return attended


WRONG: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "a mean": lambda *qkv: qkv[2].mean(1, keepdim=True).expand_as(qkv[2]),
    "no scale": lambda q, k, v: attend(q, k, v, scale=11.3),
    "half the scale": lambda q, k, v: attend(q, k, v, scale=0.5),
    "rows shifted": lambda q, k, v: attend(q, k, v).roll(1, 1),
    "heads changed": lambda q, k, v: attend(q, k, v).roll(1, 2),
    "one head": lambda q, k, v: spoiled(q, k, v, (slice(None), slice(None), slice(1, 2))),
    "the last tokens": lambda q, k, v: spoiled(q, k, v, (slice(None), slice(-10, None))),
    "zeros": lambda *qkv: torch.zeros_like(qkv[2]),
    "another layout": lambda q, k, v: attend(q, k, v).transpose(1, 2),
    "infinite": lambda q, k, v: attend(q, k, v) / 0,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kernel", [attend, in_8_bits])
def test_right_kernel_passes(kernel: Callable[..., Tensor], shape: Shape) -> None:
    tensors = make_tensors(shape, torch.bfloat16, "cpu")
    fault, cosine = compare(kernel, tensors, attend(*tensors))
    assert fault == "" and cosine is not None and cosine > 0.995


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernel_fails(name: str) -> None:
    tensors = make_tensors(WAN, torch.float32, "cpu")
    fault, cosine = compare(WRONG[name], tensors, attend(*tensors))
    assert fault and (cosine is None or cosine < LEAST_COSINE - 0.01)


@pytest.mark.parametrize("index", range(3))
def test_change_of_any_input_is_seen(index: int) -> None:
    def touch(*tensors: Tensor) -> Tensor:
        attended = attend(*tensors)
        tensors[index][0, 3, 1, 5] += 1
        return attended

    tensors = make_tensors(SMALL, torch.float32, "cpu")
    assert compare(touch, tensors, attend(*tensors))[0] == "it changes the tensors that it is given"


def test_tensors_are_the_same_every_time() -> None:
    first, second = make_tensors(SMALL, torch.float16, "cpu"), make_tensors(SMALL, torch.float16, "cpu")
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert first[0].shape == (1, 16, 8, 64) and first[0].dtype == torch.float16
