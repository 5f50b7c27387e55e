"""Every provider of attention that this card can run, through its wrapper: `pytest -m gpu`."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from benchmarks.candidates import EXACT, LIMITS, SPARSE, Candidate, candidates
from benchmarks.measuring import errors, exact_attention
from benchmarks.random_model import TINY, build
from wanvideo.attention import sdpa
from wanvideo.hardware import probe_hardware
from wanvideo.models.transformer import TEXT_TOKENS, token_grid
from wanvideo.registry import AttentionFunction, AttentionPlace, quantization_modes

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

DTYPES = (torch.bfloat16, torch.float16)
HEAD_DIMS = (64, 128)
LENGTHS = (1, 100, 127, 128, 4096 + 5)
FRAMES_OF = {4096 + 5: 3}  # of the sparse one; shorter videos are a single frame
BATCH, HEADS = 2, 3


def listed() -> Iterator[Candidate]:
    """All that the application may run."""
    for found in candidates(probe_hardware()):
        if found.provider not in sdpa.PROVIDERS:  # by itself such a kernel refuses some of the calls
            yield found


def _preferring(name: str, place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - a loader
    return sdpa.preferring(name)


ONCE = list(listed())
ALL = ONCE + [  # torch's kernels as the application asks for them, with the others behind
    Candidate(backend="sdpa", provider=name, kind=EXACT, reason=None, load=partial(_preferring, name))
    for name in sdpa.PROVIDERS
]
DENSE = [found for found in ALL if found.backend not in SPARSE]


def named(candidate: Candidate) -> str:
    return f"{candidate.backend} {candidate.provider}".strip()


def place_of(tokens: int) -> AttentionPlace:
    """In the middle of model and steps."""
    frames = FRAMES_OF.get(tokens, 1)
    return AttentionPlace(
        block=20, blocks=40, step=20, steps=40, frames=frames, frame_tokens=tokens // frames
    )


def load(candidate: Candidate, tokens: int) -> AttentionFunction:
    """Skips one that this machine can't run."""
    if candidate.reason is not None:
        pytest.skip(candidate.reason)
    return candidate.load(place_of(tokens))


def draw(tokens: int, head_dim: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """(3, batch, tokens, heads, head_dim); the keys have a mean that is far from 0."""
    generator = torch.Generator("cuda").manual_seed(seed)
    drawn = torch.randn(3, BATCH, tokens, HEADS, head_dim, generator=generator, device="cuda")
    drawn[1] += 1
    return drawn.to(dtype)


def check(candidate: Candidate, function: AttentionFunction, given: tuple[Tensor, ...], tokens: int) -> None:
    """Right, in the form that the model wants, and harmless."""
    before = [states.clone() for states in given]
    attended = function(*given)
    assert attended.dtype == given[0].dtype and attended.shape == given[0].shape
    assert all(map(torch.equal, given, before))
    wanted = exact_attention(*before, candidate.seen(place_of(tokens)))
    assert errors(attended, wanted)["relative_l2"] <= LIMITS[candidate.kind][1]


@pytest.mark.parametrize("candidate", DENSE, ids=named)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("tokens", LENGTHS)
@torch.no_grad()
def test_result_and_inputs(candidate: Candidate, dtype: torch.dtype, head_dim: int, tokens: int) -> None:
    check(candidate, load(candidate, tokens), draw(tokens, head_dim, dtype).unbind(), tokens)


@pytest.mark.parametrize("candidate", [found for found in ALL if found not in DENSE], ids=named)
@pytest.mark.parametrize(("tokens", "head_dim"), [(100, 64), (4096 + 5, 64), (4096 + 5, 128)])
@torch.no_grad()
def test_sparse_result_is_that_of_its_mask(candidate: Candidate, tokens: int, head_dim: int) -> None:
    """Few cases: it may be compiled for each."""
    torch.compiler.reset()
    check(candidate, load(candidate, tokens), draw(tokens, head_dim, torch.bfloat16).unbind(), tokens)


@pytest.mark.parametrize("candidate", ALL, ids=named)
@torch.no_grad()
def test_strided_inputs(candidate: Candidate) -> None:
    """Views of one projection of queries, keys and values, and of tensors that lie heads first."""
    tokens = LENGTHS[-1]
    function, drawn = load(candidate, tokens), draw(tokens, 128, torch.bfloat16)
    joined = drawn.permute(1, 2, 0, 3, 4).contiguous()  # (batch, tokens, 3, heads, head_dim)
    heads_first = drawn.transpose(2, 3).contiguous().transpose(2, 3)
    for given in (joined.unbind(2), heads_first.unbind()):
        assert not given[0].is_contiguous()
        check(candidate, function, given, tokens)


@pytest.mark.parametrize("candidate", DENSE, ids=named)
@pytest.mark.parametrize(("queries", "keys"), [(150, 260), (300, 128), (4101, 512)])
@torch.no_grad()
def test_queries_and_keys_may_differ_in_number(candidate: Candidate, queries: int, keys: int) -> None:
    query, _, _ = draw(queries, 128, torch.bfloat16).unbind()
    _, key, value = draw(keys, 128, torch.bfloat16, seed=1).unbind()
    check(candidate, load(candidate, queries), (query, key, value), queries)


@pytest.mark.parametrize("candidate", ALL, ids=named)
@torch.no_grad()
def test_the_host_never_waits(candidate: Candidate) -> None:
    tokens = LENGTHS[-1]
    function, given = load(candidate, tokens), draw(tokens, 128, torch.bfloat16).unbind()
    for _ in range(2):
        function(*given)
    torch.cuda.set_sync_debug_mode("error")
    try:
        attended = function(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(attended.isfinite().all())


@pytest.mark.parametrize("candidate", ONCE, ids=named)
@torch.no_grad()
def test_a_block_compiles_whole(candidate: Candidate) -> None:
    """The compiler sees the block as one graph, with the kernel as an op that changes nothing."""
    if candidate.reason is not None:
        pytest.skip(candidate.reason)
    torch.compiler.reset()
    dense = next(mode for mode in quantization_modes().values() if mode.store is None)
    model, _ = build(TINY, dense)
    latents, prompt = torch.randn(1, 16, 3, 32, 32), torch.randn(1, TEXT_TOKENS, TINY.text_dim)
    frames, rows, columns = token_grid(latents)
    middle = AttentionPlace(block=1, blocks=2, step=20, steps=40, frames=frames, frame_tokens=rows * columns)
    for block in model.blocks:
        block.attention = candidate.load(middle)
    given = latents.cuda(), torch.full((1,), 500.0, device="cuda"), model.embed_context(prompt.cuda())
    eager = model(*given)
    model.blocks[1].forward = torch.compile(model.blocks[1].forward, fullgraph=True)
    assert errors(model(*given).flatten(2), eager.flatten(2))["relative_l2"] < 3e-2


def test_naming_a_kernel_leaves_the_order_of_torch() -> None:
    """For calls that name none; torch makes it up at the first attention of a process."""
    plain = "torch.nn.functional.scaled_dot_product_attention(*[torch.ones(1, 1, 8, 64).half().cuda()] * 3)"
    ours = "from wanvideo.attention.sdpa import fastest_attend; fastest_attend()"
    orders = [
        subprocess.run(
            [sys.executable, "-c", f"import torch; {first}; print(torch._C._get_sdp_priority_order())"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for first in (plain, ours)
    ]
    assert orders[0] == orders[1]
