"""FlashAttention 2 to 4: exact attention in fp16 and bf16. Packages of 2 and 3 are built from source; 4 is
Python alone and compiles its kernels at the first call.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.providers import Provider, load_first, unavailable_reason
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

if TYPE_CHECKING:
    from torch import Tensor

HEAD_DIMS = range(8, 257, 8)
FLASH_2 = Provider(module="flash_attn", function="flash_attn_func", since=(8, 0))
# Written for Hopper's instructions: its kernels start on no later card.
FLASH_3 = Provider(module="flash_attn_interface", function="flash_attn_func", since=(9, 0), until=(10, 0))
FLASH_4 = Provider(
    module="flash_attn.cute", function="flash_attn_func", since=(8, 0), distribution="flash-attn-4"
)


@cache
def _flash_2() -> AttentionFunction:
    provider, function = load_first("FlashAttention 2", [FLASH_2])
    return make_attention(Kernel(name="flash_attn_2", head_dims=HEAD_DIMS), function, provider.title)


@cache
def _flash_3() -> AttentionFunction:
    provider, function = load_first("FlashAttention 3", [FLASH_3])
    return make_attention(Kernel(name="flash_attn_3", head_dims=HEAD_DIMS), _alone(function), provider.title)


@cache
def _flash_4() -> AttentionFunction:
    provider, function = load_first("FlashAttention 4", [FLASH_4])
    return make_attention(Kernel(name="flash_attn_4", head_dims=HEAD_DIMS), _alone(function), provider.title)


def _alone(function: Callable[..., Any]) -> AttentionFunction:
    """The result without the log-sum-exp, which some builds add."""

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        attended = function(query, key, value)
        return attended[0] if isinstance(attended, tuple) else attended

    return call


def _load_2(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _flash_2()


def _load_3(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _flash_3()


def _load_4(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _flash_4()


BACKENDS = (
    AttentionBackend(
        name="flash_attn_2",
        label="FlashAttention 2",
        aliases=("flash_attn",),
        priority=10,
        fallback="sdpa",
        unavailable_reason=partial(unavailable_reason, providers=[FLASH_2]),
        load=_load_2,
    ),
    AttentionBackend(
        name="flash_attn_3",
        label="FlashAttention 3 (Hopper)",
        priority=20,
        fallback="flash_attn_2",
        unavailable_reason=partial(unavailable_reason, providers=[FLASH_3]),
        load=_load_3,
    ),
    AttentionBackend(
        name="flash_attn_4",
        label="FlashAttention 4",
        priority=25,
        fallback="flash_attn_3",
        unavailable_reason=partial(unavailable_reason, providers=[FLASH_4]),
        load=_load_4,
    ),
)
