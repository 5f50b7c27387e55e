"""8-bit attention: SageAttention 1 and 2, and the INT8 kernel of comfy-kitchen, which needs no build.

Keys and queries are INT8; the values are FP16 in the older kernels and FP8 in SageAttention 2's newer ones.
"""

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.providers import Provider, load_first, unavailable_reason
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

if TYPE_CHECKING:
    from torch import Tensor

FP8_FUNCTION = "sageattn_qk_int8_pv_fp8_cuda"  # every 2.x has it, no 1.x does
SAGE_2 = Provider(module="sageattention", function="sageattn", since=(8, 0), mark=FP8_FUNCTION)
INT8 = Provider(
    module="comfy_kitchen.sage_attention", function="int8_attention", since=(7, 5), flag="is_available"
)
SAGE_1 = Provider(module="sageattention", function="sageattn", since=(8, 0))
KERNELS = {
    SAGE_2: Kernel(name="sageattn_2", head_dims=range(1, 129)),
    INT8: Kernel(name="sageattn_int8", head_dims=range(1, 129), heads_first=True),
    # It subtracts the key mean in place, and forgets to hide the zeros behind the last of its 64 keys.
    SAGE_1: Kernel(name="sageattn_1", head_dims=(64, 96, 128), changes_key=True, attends_padding_to=64),
}

FP8_ADA = Provider(module="sageattention", function=FP8_FUNCTION, since=(8, 9), until=(9, 0))
FP8_HOPPER = Provider(module="sageattention", function=f"{FP8_FUNCTION}_sm90", since=(9, 0), until=(10, 0))
FP8_BLACKWELL = Provider(module="sageattention", function=FP8_FUNCTION, since=(10, 0))
# The default granularity quantizes with a Triton kernel that does not run there; so the package's own choice.
FP8_ARGUMENTS: dict[Provider, dict[str, Any]] = {
    FP8_ADA: {},
    FP8_HOPPER: {},
    FP8_BLACKWELL: {"qk_quant_gran": "per_warp"},
}


@cache
def sage_2() -> AttentionFunction:
    """SageAttention 2.x alone. Raises UserError when it can't be had."""
    return _attention([SAGE_2])


@cache
def _sage() -> AttentionFunction:
    return _attention(list(KERNELS))


def _attention(providers: list[Provider]) -> AttentionFunction:
    provider, function = load_first("SageAttention", providers)

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        if provider == INT8:
            return function(query, key, value)
        return function(query, key, value, tensor_layout="NHD")

    return make_attention(KERNELS[provider], call, provider.title)


@cache
def _sage_fp8() -> AttentionFunction:
    provider, function = load_first("SageAttention 2 with FP8 values", list(FP8_ARGUMENTS))

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        return function(query, key, value, tensor_layout="NHD", **FP8_ARGUMENTS[provider])

    kernel = Kernel(name="sageattn_3_fp8", head_dims=range(1, 129))
    return make_attention(kernel, call, provider.title)


def _load(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _sage()


def _load_fp8(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _sage_fp8()


BACKENDS = (
    AttentionBackend(
        name="sageattn",
        label="SageAttention (8-bit)",
        priority=30,
        fallback="flash_attn_2",
        unavailable_reason=partial(unavailable_reason, providers=list(KERNELS)),
        load=_load,
    ),
    AttentionBackend(
        name="sageattn_3_fp8",
        label="SageAttention 2++ (INT8 and FP8)",
        priority=40,
        fallback="sageattn",
        unavailable_reason=partial(unavailable_reason, providers=list(FP8_ARGUMENTS)),
        load=_load_fp8,
    ),
)
