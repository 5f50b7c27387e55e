"""Every way to compute attention that can be measured: each backend as the application loads it, and each
provider of a backend that has several, which the application would not choose.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks.measuring import device
from wanvideo.attention import radial, sage, sdpa
from wanvideo.attention.providers import Provider, unavailable_reason
from wanvideo.attention.radial_mask import radial_mask
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace, attention_backends

EXACT, EIGHT_BITS, FOUR_BITS = "exact", "8 bits", "4 bits"
LIMITS = {  # relative L2 against fp32 that passes, on (realistic, random) tensors
    EXACT: (1e-2, 1e-2),
    EIGHT_BITS: (2e-2, 4e-2),
    FOUR_BITS: (0.15, 0.15),
}
KINDS = {
    "sageattn": EIGHT_BITS,
    "sageattn_3_fp8": EIGHT_BITS,
    "sageattn_3": FOUR_BITS,
    "sageattn_3_fp4": FOUR_BITS,
}
SAGE = attention_backends()["sageattn"]  # has several providers
SPARSE = {row.name for row in radial.BACKENDS}  # to be compared with what their mask lets them see


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backend by one provider; `provider` is empty for the application's own choice, which tells its name
    when it is loaded. `reason`: why this machine can't run it.
    """

    backend: str
    provider: str = ""
    kind: str
    reason: str | None
    load: Callable[[AttentionPlace], AttentionFunction]

    def seen(self, place: AttentionPlace) -> Tensor | None:
        """(tokens, tokens), true where it attends; None for everywhere."""
        if self.backend not in SPARSE:
            return None
        grid = radial.radial_grid(place.frames, place.frame_tokens)
        mask = radial_mask(grid).to(device())
        wide = mask.repeat_interleave(grid.block, 0).repeat_interleave(grid.block, 1)
        return wide[: grid.tokens, : grid.tokens]


def candidates(machine: Hardware) -> Iterator[Candidate]:
    """The exact backend and its kernels first: the others' times are told as ratios to theirs."""
    for row in sorted(attention_backends().values(), key=lambda row: row.fallback is not None):
        yield Candidate(
            backend=row.name, kind=_kind(row), reason=row.unavailable_reason(machine), load=row.load
        )
        yield from _others(row, machine)


def _kind(row: AttentionBackend) -> str:
    if row.name in SPARSE and radial.SPARSE_SAGE.is_here():
        return EIGHT_BITS
    return KINDS.get(row.name, EXACT)


def _others(row: AttentionBackend, machine: Hardware) -> Iterator[Candidate]:
    """The providers of a backend, one by one."""
    if row in sdpa.BACKENDS:
        reason = None if machine.device == "cuda" else "needs an NVIDIA card"
        for name in sdpa.PROVIDERS:
            load = partial(_one_torch_kernel, name)
            yield Candidate(backend=row.name, provider=name, kind=EXACT, reason=reason, load=load)
    elif row is SAGE:
        chosen = _chosen_title(row, machine)
        # Loading the chosen one a second time would register its custom op anew.
        for provider in (provider for provider in sage.KERNELS if provider.title != chosen):
            yield Candidate(
                backend=row.name,
                provider=f"{provider.title} ({sage.KERNELS[provider].name})",
                kind=_kind(row),
                reason=unavailable_reason(machine, [provider]),
                load=partial(_one_sage, provider),
            )


def _chosen_title(row: AttentionBackend, machine: Hardware) -> str:
    """Where the application's function comes from; empty when there is none, which its own row explains."""
    if row.unavailable_reason(machine) is not None:
        return ""
    try:
        return row.load(AttentionPlace(frames=1, frame_tokens=1)).__qualname__
    except UserError:
        return ""


def _one_sage(provider: Provider, place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - a loader
    return sage._attention([provider])


def _one_torch_kernel(name: str, place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - a loader
    """Torch's attention by that kernel or not at all."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.__members__[name]):
            return sdpa.attend(query, key, value)

    attend.__qualname__ = name
    return attend
