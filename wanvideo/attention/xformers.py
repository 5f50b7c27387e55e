"""xformers' memory-efficient attention: exact, in fp16 and bf16, for cards from compute capability 7.5."""

from functools import cache, partial

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.providers import Provider, load_first, unavailable_reason
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

XFORMERS = Provider(module="xformers.ops", function="memory_efficient_attention", since=(7, 5))


@cache
def _attention() -> AttentionFunction:
    provider, function = load_first("xformers", [XFORMERS])
    return make_attention(Kernel(name="xformers", head_dims=range(8, 257, 8)), function, provider.title)


def _load(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return _attention()


BACKENDS = (
    AttentionBackend(
        name="xformers",
        label="xformers (memory-efficient)",
        priority=-10,
        fallback="sdpa",
        unavailable_reason=partial(unavailable_reason, providers=[XFORMERS]),
        load=_load,
    ),
)
