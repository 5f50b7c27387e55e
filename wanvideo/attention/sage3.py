"""SageAttention 3: 4-bit attention on Blackwell, on every step or with SageAttention 2 on the outer ones."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.providers import Provider, load_first, unavailable_reason
from wanvideo.attention.sage import SAGE_2, sage_2
from wanvideo.attention.sdpa import fastest_attend
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

if TYPE_CHECKING:
    from torch import Tensor

BLACKWELL = (10, 0)
PROVIDERS = (
    Provider(module="sageattn3", function="sageattn3_blackwell", since=BLACKWELL),
    Provider(module="sage3", function="sageattn3_blackwell", since=BLACKWELL, flag="SAGEATTN3_AVAILABLE"),
    Provider(module="sageattention", function="sageattn3_blackwell", since=BLACKWELL),
    Provider(module="sageattention", function="sageattn_blackwell", since=BLACKWELL),
    Provider(module="sageattn", function="sageattn_blackwell", since=BLACKWELL),
)
# It subtracts the key mean in place. It fills up to 128 tokens itself, and then knows which keys are real:
# keys added here would be attended to.
KERNEL = Kernel(
    name="sageattn_3_fp4",
    head_dims=(64, 128),
    heads_first=True,
    least_tokens=128,
    packed=True,
    changes_key=True,
)
MEAN_TOKENS = 16_384  # above, the fp32 correction of (heads, tokens / 128, tokens) takes gigabytes
ANSWERS = {"on": True, "off": False}


def uses_block_mean(place: AttentionPlace) -> bool:
    """Whether the mean of the queries is taken per 128 tokens (more exact) or over all of them."""
    return ANSWERS.get(place.per_block_mean, place.frames * place.frame_tokens <= MEAN_TOKENS)


def is_outer_step(place: AttentionPlace) -> bool:
    """The first or the last step: the authors advise against 4 bits there."""
    return place.step in (0, place.steps - 1)


@cache
def _kernel() -> tuple[Provider, Callable[..., Any]]:
    return load_first("SageAttention3 Blackwell", PROVIDERS)


@cache
def _fp4(per_block_mean: bool) -> AttentionFunction:
    provider, function = _kernel()

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        return function(query, key, value, per_block_mean=per_block_mean)

    kernel = KERNEL if not per_block_mean else replace(KERNEL, name=f"{KERNEL.name}_block_mean")
    return make_attention(kernel, call, provider.title)


def _load_fp4(place: AttentionPlace) -> AttentionFunction:
    return _fp4(uses_block_mean(place))


def _remark(place: AttentionPlace) -> str | None:
    """What has to be said where no step is an inner one."""
    if place.steps > 2:
        return None
    outer = "SageAttention 2" if SAGE_2.is_here() else "exact attention"
    return f"{outer} computes the first and the last step, here that is all"


def _load(place: AttentionPlace) -> AttentionFunction:
    """SageAttention 2 on the outer steps, exact attention where it is not installed."""
    if is_outer_step(place):
        return sage_2() if SAGE_2.is_here() else fastest_attend()
    return _load_fp4(place)


BACKENDS = (
    AttentionBackend(
        name="sageattn_3",
        label="SageAttention 3 (4-bit), 2 on the first and last step",
        priority=50,
        fallback="sageattn_3_fp8",
        unavailable_reason=partial(unavailable_reason, providers=PROVIDERS),
        load=_load,
        has_block_mean=True,
        remark=_remark,
    ),
    AttentionBackend(
        name="sageattn_3_fp4",
        label="SageAttention 3 (4-bit) on every step",
        priority=-20,
        fallback="sageattn_3_fp8",
        unavailable_reason=partial(unavailable_reason, providers=PROVIDERS),
        load=_load_fp4,
        has_block_mean=True,
    ),
)
