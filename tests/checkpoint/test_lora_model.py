"""LoRAs on a model of every mode: put on, weighted by step, compiled, taken off without a trace."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoint.lora_files import (
    EXACT,
    STRENGTH,
    STYLES,
    Changes,
    bytes_of,
    changes_for,
    load,
    make_changes,
    merged,
    merged_model,
    spelled,
    talk_facts,
    use,
    wear,
    write_lora,
)
from tests.models.test_projections import run
from tests.quantization.weights import relative_error
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.keys import to_module, to_official
from wanvideo.checkpoint.lora_model import set_lora_step, wear_loras
from wanvideo.errors import Cancelled, UserError
from wanvideo.quantization.joined import LinearPart
from wanvideo.registry import quantization_modes

MODES = quantization_modes()


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[CheckpointFacts]:
    return talk_facts(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def changes(facts: list[CheckpointFacts]) -> Changes:
    return changes_for(facts)


@pytest.fixture(scope="module")
def expected(facts: list[CheckpointFacts], changes: Changes) -> Tensor:
    return run(merged_model(facts, changes))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("joins", [False, True])
def test_every_mode_has_the_effect_and_loses_it(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes, expected: Tensor, mode: str, joins: bool
) -> None:
    lora = use(write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["comfy"])), facts)
    model = load(facts, mode)
    if joins:
        model.join_projections()
    before, plain = bytes_of(model), run(model)
    bare = run(load(facts))
    wear(model, lora)
    effect, wanted = run(model) - plain, expected - bare
    assert relative_error(effect, wanted) < 0.5
    wear(model)
    assert bytes_of(model) == before and torch.equal(run(model), plain)


def test_bf16_model_and_half_precision_files(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes, expected: Tensor
) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        path = write_lora(tmp_path / f"{dtype}.safetensors", spelled(changes, STYLES["kohya"]), dtype=dtype)
        model = load(facts, dtype=torch.bfloat16)
        plain = run(model)
        wear(model, use(path, facts))
        assert relative_error(run(model), expected) < 0.03 < relative_error(plain, expected)
        wear(model)
        assert torch.equal(run(model), plain)


def test_several_loras_add_up_in_any_history(tmp_path: Path, facts: list[CheckpointFacts]) -> None:
    """What was on the model before leaves no trace: sums are made in the order of the job."""
    official = to_official("transformer", load(facts).state_dict())
    several = [make_changes(official, seed) for seed in (1, 2)]
    paths = [
        write_lora(tmp_path / f"{index}.safetensors", spelled(change, STYLES["comfy"]))
        for index, change in enumerate(several)
    ]
    first, second = use(paths[0], facts, 0.5), use(paths[1], facts, -0.3)
    model = load(facts)
    wear(model, first, second)
    both = run(model)
    whole = merged(merged(official, several[0], 0.5), several[1], -0.3)
    other = load(facts)
    other.load_state_dict(to_module("transformer", whole), assign=True)
    assert relative_error(both, run(other)) < EXACT
    for history in ([second], [second, first], [first], [first, first], []):
        wear(model, *history)
        wear(model, first, second)
        assert torch.equal(run(model), both)
    wear(model, first, first)
    twice = run(model)
    wear(model, use(paths[0], facts, 1.0))
    assert relative_error(run(model), twice) < EXACT


def test_strength_per_step(tmp_path: Path, facts: list[CheckpointFacts], changes: Changes) -> None:
    path = write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["comfy"]))
    single = load(facts)
    plain, results = run(single), {}
    for strength in (1.0, 0.25, 0.0):
        wear(single, use(path, facts, strength))
        results[strength] = run(single)
    assert torch.equal(results[0.0], plain)
    model = load(facts)
    wear(model, use(path, facts, (1.0, 0.25, 0.0)))
    for step, strength in ((0, 1.0), (1, 0.25), (2, 0.0), (7, 0.0), (1, 0.25), (0, 1.0)):
        set_lora_step(model, step)
        assert torch.equal(run(model), results[strength])


def test_compiled_blocks_follow_strengths_without_a_new_trace(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes
) -> None:
    path = write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["comfy"]))
    for joins, mode in ((False, "disabled"), (True, "fp8_e4m3fn_scaled")):
        model, plain = load(facts, mode), load(facts, mode)
        if joins:
            model.join_projections()
            plain.join_projections()
        graphs: list[object] = []

        def count(graph: torch.fx.GraphModule, _: object, graphs: list[object] = graphs) -> object:
            graphs.append(graph)
            return graph.forward

        torch._dynamo.reset()
        for one in (model, plain):
            wear(one, use(path, facts, (1.0, 0.3, -2.0)))
        for block in model.blocks:
            block.forward = torch.compile(block.forward, fullgraph=True, backend=count)
        run(model)
        traced = len(graphs)
        for step in range(3):
            set_lora_step(model, step)
            set_lora_step(plain, step)
            torch.testing.assert_close(run(model), run(plain), rtol=1e-5, atol=1e-5)
        assert len(graphs) == traced > 0
        wear(model)
        wear(plain)
        torch.testing.assert_close(run(model), run(plain), rtol=1e-5, atol=1e-5)


def test_a_whole_weight_changes_a_dense_model_and_no_quantized_one(
    tmp_path: Path, facts: list[CheckpointFacts]
) -> None:
    difference = torch.randn(256, 256) * 0.05
    lora = use(write_lora(tmp_path / "a.safetensors", {"blocks.0.self_attn.k.diff": difference}), facts)
    assert lora.facts.full_weights == ["blocks.0.attn1.to_k"]
    for joins in (False, True):
        model, other = load(facts), load(facts)
        if joins:
            model.join_projections()
        plain = run(model)
        other.blocks[0].attn1.to_k.weight.data += STRENGTH * difference
        wear(model, lora)
        assert relative_error(run(model), run(other)) < EXACT
        wear(model)
        assert torch.equal(run(model), plain)
    model = load(facts, "fp8_e4m3fn")
    plain = run(model)
    with pytest.raises(UserError, match="which is quantized"):
        wear(model, lora)
    assert torch.equal(run(model), plain)


def test_whatever_goes_wrong_leaves_the_model_bare(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes
) -> None:
    paths = [write_lora(tmp_path / f"{n}.safetensors", spelled(changes, STYLES["comfy"])) for n in "ab"]
    uses, model = [use(path, facts) for path in paths], load(facts)
    before, plain = bytes_of(model), run(model)

    def stop(words: str) -> None:
        if words == "LoRA b":
            raise Cancelled

    with pytest.raises(Cancelled):
        wear_loras(model, uses, stop)
    assert bytes_of(model) == before and torch.equal(run(model), plain)
    wear(model, uses[0])
    write_lora(paths[1], {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1)})  # another file since
    with pytest.raises(KeyError):
        wear(model, *uses)
    assert bytes_of(model) == before and torch.equal(run(model), plain)


def test_files_of_the_model_are_never_written(facts: list[CheckpointFacts], tmp_path: Path) -> None:
    """On the processor the parameters are the mapped file itself."""

    def marks() -> list[str]:
        return [hashlib.sha256(file.read_bytes()).hexdigest() for part in facts for file in part.files]

    before, changes = marks(), make_changes(to_official("transformer", load(facts).state_dict()), 3)
    model = load(facts)
    wear(model, use(write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["bare"])), facts))
    assert marks() == before


def test_branches_are_no_copies_of_the_weights(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes
) -> None:
    path = write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["comfy"]))
    model = load(facts)
    held = dict(model.named_parameters())
    wear(model, use(path, facts))
    factors = sum(down.numel() + up.numel() + 1 for down, up in changes.pairs.values())
    assert all(model.get_parameter(name) is parameter for name, parameter in held.items())
    size = sum(parameter.numel() for parameter in model.parameters())
    assert size == sum(parameter.numel() for parameter in held.values()) + factors
    model.to(torch.bfloat16)
    assert model.blocks[0].attn1.to_q.branches[0].down.dtype == torch.bfloat16
    joined = load(facts)
    joined.join_projections()
    assert isinstance(joined.blocks[0].attn1.to_q, LinearPart)
