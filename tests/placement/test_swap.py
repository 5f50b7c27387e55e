"""Block swap on real modules: the same result as resident, the same parameter objects, no trace left."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.tiny_models import IMAGE_DIM, SPEECH_DIM, SPEECH_LAYERS, TEXT_DIM, write_tiny_models
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.load import load_text_encoder, load_transformer
from wanvideo.memory_plan import SwapPlan
from wanvideo.models.passes import AudioContext, Pass
from wanvideo.models.rotary import Rotary
from wanvideo.models.transformer import WanTransformer
from wanvideo.placement.host_block import ALIGNMENT, HostBlock, travels
from wanvideo.placement.residence import Residence
from wanvideo.quantization.linear import BranchedLinear
from wanvideo.registry import quantization_modes

MODES = list(quantization_modes())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[CheckpointFacts]:
    folder = write_tiny_models(tmp_path_factory.mktemp("models"))
    names = ("tiny_i2v", "tiny_infinitetalk", "tiny_umt5")
    return [inspect_checkpoint(folder / f"{name}.safetensors") for name in names]


def load(files: list[CheckpointFacts], mode: str = "disabled") -> WanTransformer:
    return load_transformer(files[0], files[1], dtype=torch.float32, mode=quantization_modes()[mode])


def resident_and_swapped(model: WanTransformer) -> Residence[WanTransformer]:
    return Residence(model, "cpu", blocks=list(model.blocks))


@torch.no_grad()
def given(
    model: WanTransformer, passes: int, device: str = "cpu"
) -> tuple[Tensor, Tensor, list[Pass], Rotary]:
    """Latents, timestep, what each pass is told, rotary table."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 36, 3, 8, 8, generator=generator).to(device)
    prompts = torch.randn(2, 1, 5, TEXT_DIM, generator=generator).to(device)
    picture = torch.randn(1, 257, IMAGE_DIM, generator=generator).to(device)
    speech = torch.randn(1, 1, 9, 5, SPEECH_LAYERS, SPEECH_DIM, generator=generator).to(device)
    audio = AudioContext(model.embed_audio(speech))
    told = [Pass(model.embed_context(prompt, picture), audio) for prompt in prompts[:passes]]
    return latents, torch.tensor([700.0], device=device), told, model.rotary(latents)


@torch.no_grad()
def forward(model: WanTransformer, passes: int = 1, device: str = "cpu") -> list[Tensor]:
    latents, timestep, told, rotary = given(model, passes, device)
    return model.forward_passes(latents, timestep, told, rotary=rotary)


def same(ours: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, wanted, strict=True))


def addresses(module: nn.Module) -> Iterator[int]:
    return (parameter.data_ptr() for parameter in module.parameters() if travels(parameter))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slots", [1, 2])
def test_swapped_is_bit_identical_to_resident(files: list[CheckpointFacts], mode: str, slots: int) -> None:
    model = load(files, mode)
    exact, residence = forward(model, 2), resident_and_swapped(model)
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    for blocks in (1, 2, 0):
        for _ in range(2):
            with residence.running(SwapPlan(blocks=blocks, slots=slots)):
                assert same(forward(model, 2), exact)
                assert same(forward(model, 1), exact[:1])
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before


def test_a_block_computes_in_a_slot_and_rests_in_main_memory(files: list[CheckpointFacts]) -> None:
    model = load(files, "fp8_e4m3fn")
    residence = resident_and_swapped(model)
    seen: list[set[int]] = []
    with residence.running(SwapPlan(blocks=2, slots=1)):
        home = [set(addresses(block)) for block in model.blocks]
        hooks = [
            block.ffn.register_forward_hook(lambda *_, block=block: seen.append(set(addresses(block))))
            for block in model.blocks
        ]
        forward(model)
        assert [set(addresses(block)) for block in model.blocks] == home
        for hook in hooks:
            hook.remove()
    assert not (home[0] | home[1]) & (seen[0] | seen[1])
    first = min(seen[0] | seen[1])
    assert all((address - first) % ALIGNMENT == 0 for address in seen[0] | seen[1])


def test_what_stays_is_small(files: list[CheckpointFacts]) -> None:
    """Norms, biases, modulation and scales of rows are not copied for each use."""
    block = load(files, "fp8_e4m3fn_scaled").blocks[0]
    staying = {name for name, parameter in block.named_parameters() if not travels(parameter)}
    assert {"scale_shift_table", "norm2.weight", "ffn.net.2.bias", "attn1.to_q.weight_scale"} <= staying
    assert {name.rpartition(".")[2] for name in staying} <= {
        "scale_shift_table",
        "weight",
        "bias",
        "weight_scale",
    }
    matrices = [p for p in block.parameters() if travels(p)]
    host = HostBlock(block, pin=False)
    assert {id(p) for p in host.parameters()} == {id(p) for p in matrices}


def test_a_pass_that_fails_leaves_the_weights_in_main_memory(files: list[CheckpointFacts]) -> None:
    model = load(files)
    exact, residence = forward(model), resident_and_swapped(model)

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    hook = model.blocks[1].ffn.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"), residence.running(SwapPlan(blocks=2)):
        forward(model)
    hook.remove()
    with residence.running(SwapPlan(blocks=2)):
        assert same(forward(model), exact)
    assert not any(block._forward_pre_hooks or block._forward_hooks for block in model.blocks)


def test_loras_that_come_and_go_travel_with_their_block(files: list[CheckpointFacts]) -> None:
    model = load(files, "fp4_scaled")
    residence = resident_and_swapped(model)
    with residence.running(SwapPlan(blocks=2)):
        plain = forward(model)
    site = model.blocks[1].get_submodule("attn1.to_q")
    site.add_lora("x", torch.randn(4, site.in_features), torch.randn(site.out_features, 4), 1.0)
    exact = forward(model)
    assert not same(exact, plain)
    with residence.running(SwapPlan(blocks=2)):
        (branch,) = site.branches
        home = branch.down.data_ptr()
        assert same(forward(model), exact)
        site.set_lora_strength("x", 0.0)  # between two steps: it does not lie in a slot
        assert same(forward(model), plain)
        site.set_lora_strength("x", 1.0)
        assert branch.down.data_ptr() == home
    site.remove_lora("x")
    with residence.running(SwapPlan(blocks=2)):
        assert same(forward(model), plain)


def test_dense_linears_with_branches_are_swapped_too(files: list[CheckpointFacts]) -> None:
    model = load(files)
    exact, residence = forward(model), resident_and_swapped(model)
    with residence.running(SwapPlan(blocks=1)):
        pass
    model.blocks[1].set_submodule("attn1.to_q", BranchedLinear(model.blocks[1].attn1.to_q))
    with residence.running(SwapPlan(blocks=1)):
        assert same(forward(model), exact)


def test_compiled_blocks_are_swapped_without_compiling_again(files: list[CheckpointFacts]) -> None:
    model = load(files, "fp8_e4m3fn_scaled")
    graphs = 0

    def count(graph: torch.fx.GraphModule, _: object) -> object:
        nonlocal graphs
        graphs += 1
        return graph.forward

    for block in model.blocks:
        block.forward = torch.compile(block.forward, backend=count, fullgraph=True)
    exact, residence = forward(model), resident_and_swapped(model)
    compiled = graphs
    with residence.running(SwapPlan(blocks=2, slots=1)):
        for _ in range(2):
            assert same(forward(model), exact)
    assert graphs == compiled
    torch.compiler.reset()


@torch.no_grad()
def test_the_table_of_a_text_encoder_stays_in_main_memory(files: list[CheckpointFacts]) -> None:
    model = load_text_encoder(files[2], dtype=torch.float32)
    ids = torch.tensor([[3, 5, 1]])
    exact = model(input_ids=ids).last_hidden_state
    residence = Residence(model, "cpu", blocks=list(model.encoder.block), lookups=[model.shared])
    with residence.running(SwapPlan(blocks=len(model.encoder.block))):
        assert torch.equal(model(input_ids=ids).last_hidden_state, exact)


@pytest.mark.parametrize("chunk", [16, 20, 48, 64])
def test_chunks_of_tokens_give_the_same_result(files: list[CheckpointFacts], chunk: int) -> None:
    """Products of other numbers of rows may round otherwise, no more than that."""
    model = load(files)
    exact = forward(model, 2)
    model.set_chunks(chunk)
    for ours, wanted in zip(forward(model, 2), exact, strict=True):
        assert (ours - wanted).norm() <= 2e-6 * wanted.norm()


def test_passes_together_are_bit_identical_to_one_after_the_other(files: list[CheckpointFacts]) -> None:
    model = load(files)
    first, second = forward(model, 2)
    assert torch.equal(forward(model, 1)[0], first)
    assert not torch.equal(first, second)
