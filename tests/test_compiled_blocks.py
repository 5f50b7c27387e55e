"""Compiled blocks: the same output, one graph for all blocks and sizes, and nothing left on the model.

Most of it is about graphs, which backends show that compile nothing; what inductor makes of them is shown
once, as it takes its time.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.utils
from torch import Tensor

from tests.counting_backend import CountingBackend
from tests.quantization.weights import relative_error
from tests.tiny_models import TEXT_DIM, write_tiny_models
from wanvideo.cache_folder import cache_folder
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.compiled_blocks import FOLDER_VARIABLE, compilations_timed, compiled_blocks
from wanvideo.errors import UserError
from wanvideo.lending import JobModels
from wanvideo.memory_plan import SwapPlan
from wanvideo.model_cache import ModelCache
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.passes import AudioContext, Pass
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.transformer import WanTransformer
from wanvideo.placement.residence import Residence
from wanvideo.quantization.linear import BranchedLinear
from wanvideo.registry import quantization_modes

BLOCKS = 6
SIZES = ((3, 8, 8), (3, 8, 12), (5, 10, 12), (2, 6, 8))  # of latents: frames, height, width
AUDIO = AudioConfig(layers=2, channels=64, intermediate_dim=16, context_tokens=4, output_dim=32)
pytestmark = pytest.mark.usefixtures("fresh_compiler")


def silent(_: str) -> None:
    pass


def model(*, talk: bool = False, blocks: int = BLOCKS, dtype: torch.dtype = torch.float32) -> WanTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = WanTransformer(
            num_layers=blocks, num_attention_heads=2, attention_head_dim=128, in_channels=16, out_channels=16,
            text_dim=TEXT_DIM, freq_dim=64, ffn_dim=64, image_dim=80 if talk else None,
            added_kv_proj_dim=256 if talk else None, audio=AUDIO if talk else None,
        )  # fmt: skip
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.05)
        for name, parameter in made.named_parameters():
            parameter.data = parameter.data if keeps_fp32(name) else parameter.data.to(dtype)
    return made.eval()


def run(made: WanTransformer, size: tuple[int, int, int], *, passes: int = 1) -> list[Tensor]:
    """v of so many passes over the same noise; with speech of two speakers where the model hears it."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    audio, picture = None, None
    if made.audio_proj is not None:
        picture, masks = noise(1, 257, 80), torch.zeros(3, size[1] * size[2] // 4)
        for region, part in enumerate(torch.arange(masks.shape[1]).chunk(3)):
            masks[region, part] = 1
        speech = noise(1, size[0], 8, 32).to(made.compute_dtype)
        audio = AudioContext(speech, SpeakerRegions(masks))
    every = [Pass(made.embed_context(noise(1, 5, TEXT_DIM), picture), audio) for _ in range(passes)]
    return made.forward_passes(noise(1, 16, *size), torch.tensor([500.0]), every)


@pytest.mark.parametrize("talk", [False, True], ids=["text", "two speakers"])
def test_one_graph_for_all_blocks_sizes_passes_and_loans(
    talk: bool, counting: CountingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(talk=talk)
    with monkeypatch.context() as as_if:  # what is written another way for the compiler rounds another way
        as_if.setattr(torch.compiler, "is_compiling", lambda: True)
        expected = [run(made, size, passes=2) for size in SIZES]
    for _ in range(2):
        with compiled_blocks(made.blocks, silent, backend=counting, falls_back=False):
            found = [run(made, size, passes=2) for size in SIZES]
        assert all("forward" not in vars(block) for block in made.blocks)
        for ours, plain in zip(found, expected, strict=True):
            assert all(torch.equal(*pair) for pair in zip(ours, plain, strict=True))
    assert len(counting.graphs) == 1


def test_each_compilation_is_timed_and_what_is_compiled_already_is_none(counting: CountingBackend) -> None:
    made, spent, after = model(), list[float](), list[float]()
    begun = time.perf_counter()
    with compilations_timed(spent.append), compiled_blocks(made.blocks, silent, backend=counting):
        run(made, SIZES[0])
        took, count = time.perf_counter() - begun, len(spent)
        run(made, SIZES[0], passes=2)
        assert len(spent) == count >= 1 and 0.2 * took < sum(spent) < took
    other = model(talk=True)
    with compilations_timed(after.append), compiled_blocks(other.blocks, silent, backend=counting):
        run(other, SIZES[0])
    assert after and len(spent) == count, "nobody listens any more"


def test_chunks_of_every_number_have_the_same_graphs(counting: CountingBackend) -> None:
    """Of each function of rows one, not one for each chunk; another size asks for hardly any more."""
    made = model(blocks=3)
    expected = [run(made, size)[0] for size in SIZES]
    made.set_chunks(16)
    counts = []
    with compiled_blocks(made.blocks, silent, backend=counting, falls_back=False):
        for size, plain in zip(SIZES, expected, strict=True):
            torch.testing.assert_close(run(made, size)[0], plain, rtol=1e-5, atol=1e-5)
            counts.append(len(counting.graphs))
    assert counts[0] <= 20 and counts[-1] <= counts[0] + 4 and counts[2] == counts[1]
    assert max(len(graph.graph.nodes) for graph in counting.graphs) < 100


@pytest.mark.parametrize("mode", quantization_modes())
def test_every_mode_is_one_graph_and_swaps(
    mode: str, tmp_path_factory: pytest.TempPathFactory, counting: CountingBackend
) -> None:
    folder = write_tiny_models(tmp_path_factory.getbasetemp() / "tiny_compiled")
    files = resolve_models("text_to_video", "tiny_t2v", [folder])
    cache = ModelCache()
    lender = JobModels(files=files, cache=cache, device="cpu", dtype=torch.bfloat16, quantization=mode)
    with lender.transformer() as made:
        expected = run(made, SIZES[0])[0]
        residence = Residence(made, "cpu", blocks=list(made.blocks))
        with compiled_blocks(made.blocks, silent, backend=counting, falls_back=False):
            assert torch.equal(run(made, SIZES[0])[0], expected)
            with residence.running(SwapPlan(blocks=1, slots=1)):
                assert torch.equal(run(made, SIZES[0])[0], expected)
    assert len(counting.graphs) == 1


def test_branches_and_norms_compile(counting: CountingBackend) -> None:
    """A LoRA that is on some blocks is a variant; its strength is none."""
    made = model(blocks=2)
    layer = BranchedLinear(made.blocks[1].attn1.to_q)  # type: ignore[union-attr, arg-type]
    made.blocks[1].attn1.to_q = layer  # type: ignore[union-attr]
    layer.add_lora("style", torch.randn(4, 256), torch.randn(256, 4) * 0.1, 1.0)
    with compiled_blocks(made.blocks, silent, backend=counting, falls_back=False):
        outputs = []
        for strength in (1.0, 0.5, 0.0):
            layer.set_lora_strength("style", strength)
            outputs.append(run(made, SIZES[0])[0])
        assert len(counting.graphs) == 2
        made.set_rms_norm("pytorch")
        torch.testing.assert_close(run(made, SIZES[0])[0], outputs[-1], rtol=1e-4, atol=1e-4)
    for strength, found in zip((1.0, 0.5, 0.0), outputs, strict=True):
        layer.set_lora_strength("style", strength)
        made.set_rms_norm("default")
        torch.testing.assert_close(run(made, SIZES[0])[0], found, rtol=1e-4, atol=1e-4)
    assert relative_error(outputs[0], outputs[2]) > 1e-3


def test_more_variants_than_pytorch_allows_are_compiled(counting: CountingBackend) -> None:
    """Of functions that differ in what they enclose; torch 2.11 would take one with other defaults for the
    same.
    """

    def attention(number: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda q, k, v: v + number * (q - k)

    made = model(blocks=1)
    with (
        torch._dynamo.config.patch(recompile_limit=2),
        compiled_blocks(made.blocks, silent, backend=counting, falls_back=False),
    ):
        for number in range(4):
            made.blocks[0].attention = attention(number)
            run(made, SIZES[0])
    assert len(counting.graphs) == 4


def broken(_: object, __: object) -> Any:
    raise RuntimeError("no compiler is here\nand more about that")


def test_blocks_that_cannot_be_compiled_run_as_they_are_and_that_is_said() -> None:
    made, said = model(blocks=2), []
    expected = run(made, SIZES[0])[0]
    with compiled_blocks(made.blocks, said.append, backend=broken):
        assert torch.equal(run(made, SIZES[0])[0], expected)
        assert torch.equal(run(made, SIZES[1])[0], run(made, SIZES[1])[0])
    assert len(said) == 2 and "can't be compiled" in said[1] and "no compiler is here" in said[1]


@pytest.mark.parametrize(("chunk", "falls_back"), [(0, False), (16, True)])
def test_what_may_have_been_written_over_is_not_tried_again(chunk: int, falls_back: bool) -> None:
    made = model(blocks=1)
    made.set_chunks(chunk)
    with (
        compiled_blocks(made.blocks, silent, backend=broken, falls_back=falls_back),
        pytest.raises(UserError, match="can't be compiled"),
    ):
        run(made, SIZES[0])
    assert "forward" not in vars(made.blocks[0])


def test_compiled_and_plain_jobs_share_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: CountingBackend
) -> None:
    seen: list[Any] = []

    def compiled(blocks: Any, say: Any) -> Any:
        return compiled_blocks(blocks, say, backend=counting)

    monkeypatch.setattr("wanvideo.lending.compiled_blocks", compiled)
    files = resolve_models("text_to_video", "tiny_t2v", [write_tiny_models(tmp_path)])
    cache = ModelCache()
    for compiles in (False, True, False):
        lender = JobModels(
            files=files, cache=cache, device="cpu", dtype=torch.float32, compiles=compiles, say=seen.append
        )
        with lender.transformer() as made:
            assert ("forward" in vars(made.blocks[0])) == compiles
            run(made, SIZES[0])
    assert cache.builds == 1
    assert [text for text in seen if "compiling" in text] == [
        "compiling the blocks, if this was not done before"
    ]


def test_inductor_rounds_no_worse_and_its_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, beside fp32; a process that starts anew finds the code in the project's own cache folder."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    exact, made = model(blocks=2), model(blocks=2, dtype=torch.bfloat16)
    expected = run(exact, SIZES[1])[0]
    plain = relative_error(run(made, SIZES[1])[0], expected)
    outputs, counters = [], torch._dynamo.utils.counters
    for _ in range(2):
        torch._dynamo.reset()
        counters.clear()
        with compiled_blocks(made.blocks, silent, falls_back=False):
            outputs.append(run(made, SIZES[1])[0])
        assert counters["stats"]["unique_graphs"] == 1
    assert relative_error(outputs[0], expected) <= max(1.25 * plain, 1e-3) and plain < 1e-2
    assert torch.equal(*outputs)
    assert any(cache_folder("compiled").rglob("*"))
    assert counters["inductor"]["fxgraph_cache_hit"] or counters["aot_autograd"]["autograd_cache_hit"]
