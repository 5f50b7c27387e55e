"""A backend is told where it stands: block, step, grid; compiled blocks take the change between steps."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.attention.fake_packages import SAGE_2, SAGE_3, calls, installed, place
from tests.counting_backend import CountingBackend
from tests.models.test_transformer import SMALL
from wanvideo.attention.sdpa import attend
from wanvideo.models.transformer import WanTransformer, token_grid
from wanvideo.registry import AttentionPlace, attention_backends
from wanvideo.window_denoising import steps_of

PLAN: Any = SimpleNamespace(
    attention="sageattn_3",
    options=SimpleNamespace(per_block_mean="off"),
    settings=SimpleNamespace(steps=range(3, 7)),
    speakers=2,
    uses_speech=True,
)
ROOMY: Any = SimpleNamespace(relieve=lambda _: None)  # attempts that find enough memory


def model() -> WanTransformer:
    torch.manual_seed(0)
    return WanTransformer(**SMALL, in_channels=16).eval()


def test_each_block_is_told_where_it_stands() -> None:
    transformer, told = model(), []

    def load(here: AttentionPlace) -> Any:
        told.append(here)
        return attend

    transformer.set_attention(load, place(block=7, blocks=9, step=1))
    assert told == [place(block=block, blocks=2, step=1) for block in (0, 1)]


def test_steps_set_the_attention_as_they_are_taken() -> None:
    transformer, places = model(), []
    transformer.set_attention = lambda load, here: places.append((load, here))  # type: ignore[method-assign]
    grid = token_grid(torch.empty(1, 16, 5, 6, 8))
    assert grid == (5, 3, 4)
    for count, index in enumerate(steps_of(PLAN, transformer, grid, ROOMY)):
        assert index == 3 + count and len(places) == count + 1
        load, here = places[-1]
        assert load is attention_backends()["sageattn_3"].load
        assert here == AttentionPlace(
            step=count, steps=4, frames=5, frame_tokens=12, speakers=2, per_block_mean="off"
        )


@torch.no_grad()
def test_compiled_blocks_follow_the_step(tmp_path: Path) -> None:
    """Two graphs, one per kernel, for any number of steps; cross-attention stays exact."""
    latents, prompt = torch.randn(1, 16, 3, 16, 16), torch.randn(1, 5, 32)
    backend = CountingBackend()

    def run(transformer: WanTransformer) -> list[Tensor]:
        context = transformer.embed_context(prompt)
        steps = steps_of(PLAN, transformer, (3, 8, 8), ROOMY)
        return [transformer(latents, torch.tensor([500.0]), context) for _ in steps]

    with installed(tmp_path, SAGE_2, SAGE_3["sageattn3"]):
        eager = run(model())
        counts = [len(calls(fake)) for fake in (SAGE_2, SAGE_3["sageattn3"])]
        assert counts == [2 * 2, 2 * 2]  # blocks times steps
        transformer = model()
        for block in transformer.blocks:
            block.forward = torch.compile(block.forward, fullgraph=True, backend=backend)
        compiled = run(transformer)
        assert [len(calls(fake)) for fake in (SAGE_2, SAGE_3["sageattn3"])] == [8, 8]
    assert len(backend.graphs) <= 2 * len(transformer.blocks)
    for ours, expected in zip(compiled, eager, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
