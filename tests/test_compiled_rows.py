"""What the VAE does with rows, compiled: a kernel for each function and width, for videos of all sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor

from tests.checkpoint.samples import relative_error
from tests.counting_backend import CountingBackend
from tests.models.test_vae_blocks import small_vae, video_of
from tests.test_compiled_blocks import broken, silent
from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.compiled_blocks import compiled_blocks, compiled_rows
from wanvideo.lending import JobModels
from wanvideo.memory_plan import VAE_DECODE, VAE_ENCODE
from wanvideo.model_cache import ModelCache
from wanvideo.models.vae import decode, encode
from wanvideo.models.vae_blocks import OnRows, RowWork, use_rows

SIZES = ((17, 16, 24), (9, 32, 16), (1, 16, 16), (13, 24, 40))  # of videos: frames, height, width
WIDTHS, FUNCTIONS = 3, 3
pytestmark = pytest.mark.usefixtures("fresh_compiler")


def run(vae: Any, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    latents = encode(vae, video_of(*size))
    return latents, decode(vae, latents)


def test_a_graph_for_each_function_and_width(counting: CountingBackend) -> None:
    """The first piece of a video, the others, other sizes, encoder, decoder and later loans share them."""
    vae = use_rows(small_vae())
    expected = [run(vae, size) for size in SIZES]
    for _ in range(2):
        with compiled_rows(vae, silent, backend=counting):
            found = [run(vae, size) for size in SIZES]
        for ours, plain in zip(found, expected, strict=True):
            assert all(torch.equal(*pair) for pair in zip(ours, plain, strict=True))
        assert len(counting.graphs) == WIDTHS * FUNCTIONS
    assert not any("row_work" in vars(module) for module in vae.modules())
    assert all(module.row_work == RowWork() for module in vae.modules() if isinstance(module, OnRows))


def test_blocks_that_are_compiled_too_do_not_mind(counting: CountingBackend) -> None:
    """The settings of the compiler are those of before once a VAE has come back."""
    with compiled_blocks(torch.nn.ModuleList(), silent):
        before = torch._dynamo.config.automatic_dynamic_shapes
        vae = use_rows(small_vae())
        with compiled_rows(vae, silent, backend=counting):
            run(vae, SIZES[2])
        assert torch._dynamo.config.automatic_dynamic_shapes is before is True
    assert counting.graphs


def test_rows_that_cannot_be_compiled_are_computed_as_they_are_and_that_is_said() -> None:
    vae, said = use_rows(small_vae()), list[str]()
    expected = run(vae, SIZES[0])
    with compiled_rows(vae, said.append, backend=broken):
        assert all(torch.equal(*pair) for pair in zip(run(vae, SIZES[0]), expected, strict=True))
    assert len(said) == 2 and said[0].startswith("compiling the VAE's rows")
    assert "the VAE's rows can't be compiled" in said[1] and "no compiler is here" in said[1]


def test_inductor_rounds_no_worse() -> None:
    """In bf16, beside fp32: nothing is rounded between the operations of a kernel."""
    exact, vae = use_rows(small_vae()), use_rows(small_vae(torch.bfloat16))
    video = video_of(5, 32, 32)
    expected = encode(exact, video)
    plain = relative_error(encode(vae, video), expected)
    with compiled_rows(vae, silent):
        assert relative_error(encode(vae, video), expected) <= 1.1 * plain
    assert len(torch._dynamo.utils.counters["graph_break"]) == 0


@pytest.mark.parametrize("compiles", [False, True])
def test_a_job_that_compiles_compiles_them(
    compiles: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    counting: CountingBackend,
) -> None:
    """On a card; for a CPU the VAE stays as it is."""

    def compiled(vae: Any, say: Any) -> Any:
        return compiled_rows(vae, say, backend=counting)

    monkeypatch.setattr("wanvideo.lending.compiled_rows", compiled)
    files = resolve_models("text_to_video", "tiny_t2v", [write_tiny_models(tmp_path)])
    for on_card in (False, True):
        if on_card:
            monkeypatch.setattr("wanvideo.checkpoint.load.use_fast_cpu_convolution", use_rows)
        models = JobModels(
            files=files, cache=ModelCache(), device="cpu", dtype=torch.float32, compiles=compiles
        )
        for work in (VAE_ENCODE, VAE_DECODE):
            with models.vae(work) as vae:
                run(vae, SIZES[1])
            assert not any("row_work" in vars(module) for module in vae.modules())
        assert bool(counting.graphs) == (compiles and on_card)
    assert len(counting.graphs) <= WIDTHS * FUNCTIONS
