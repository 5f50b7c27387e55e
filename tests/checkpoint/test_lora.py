"""LoRA files of every spelling, read for a model: what each tensor does, what is left out or refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoint.lora_files import (
    EXACT,
    RANK,
    STRENGTH,
    STYLES,
    Changes,
    bytes_of,
    changes_for,
    load,
    merged_model,
    spelled,
    talk_facts,
    use,
    wear,
    write_lora,
)
from tests.checkpoint.samples import manifests, write_header
from tests.checkpoint.synthetic.diffusion_files import GgufKind, Kind, write_gguf_kind, write_kind
from tests.checkpoint.synthetic.diffusion_kinds import GGUF, SAFETENSORS
from tests.checkpoint.synthetic.modules import original
from tests.models.test_projections import run
from tests.quantization.weights import relative_error
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.keys import to_module, to_official
from wanvideo.checkpoint.lora import inspect_lora, leftovers, parameter_shapes
from wanvideo.errors import UserError


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[CheckpointFacts]:
    return talk_facts(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def changes(facts: list[CheckpointFacts]) -> Changes:
    return changes_for(facts)


@pytest.fixture(scope="module")
def expected(facts: list[CheckpointFacts], changes: Changes) -> Tensor:
    return run(merged_model(facts, changes))


@pytest.mark.parametrize(("style", "joins"), [*((name, False) for name in STYLES), ("comfy", True)])
def test_every_spelling_is_the_merged_change(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes, expected: Tensor, style: str, joins: bool
) -> None:
    lora = use(write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES[style])), facts)
    assert not leftovers(lora.facts) and len(lora.facts.branches) == len(changes.pairs)
    model = load(facts)
    if joins:
        assert model.join_projections() == {}
    before, plain = bytes_of(model), run(model)
    wear(model, lora)
    changed = run(model)
    assert relative_error(changed, expected) < EXACT < 100 * EXACT < relative_error(plain, expected)
    wear(model)
    assert bytes_of(model) == before and torch.equal(run(model), plain)


def test_names_stay_different_without_dots(facts: list[CheckpointFacts]) -> None:
    names = list(parameter_shapes(facts))
    official = list(to_official("transformer", load(facts).state_dict()))
    for spelling in (names, official):
        assert len({name.replace(".", "_") for name in spelling}) == len(spelling)
    assert all(
        to_module("transformer", {n: torch.zeros(1)}).keys() == {n} for n in set(names) & set(official)
    )


def test_what_can_not_be_placed_is_listed(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes
) -> None:
    state = spelled(changes, STYLES["comfy"])
    left = {f"diffusion_model.vace_blocks.{i}.proj.lora_A.weight": torch.zeros(4, 8) for i in range(4)}
    left |= {"diffusion_model.blocks.9.ffn.0.diff": torch.zeros(4), "some.tensor": torch.zeros(1)}
    left |= {
        "diffusion_model.blocks.1.cross_attn.v.lora_A.weight": torch.zeros(4, 256)
    }  # without its other factor
    state["diffusion_model.patch_embedding.diff"] = torch.zeros(256, 16, 1, 2, 2)
    lora = use(write_lora(tmp_path / "odd.safetensors", {**state, **left}), facts)
    assert set(lora.facts.homeless) == set(left)
    assert leftovers(lora.facts) == [
        "LoRA odd: 7 of its tensors have no place in this model and are left out:"
        " diffusion_model.blocks.1.cross_attn.v.lora_A.weight, diffusion_model.blocks.9.ffn.0.diff,"
        " diffusion_model.vace_blocks.0.proj.lora_A.weight and 4 more",
        "LoRA odd: 1 of its tensors have another shape than in this model and are left out:"
        " diffusion_model.patch_embedding.diff",
    ]
    model = load(facts)
    plain = run(model)
    wear(model, lora)
    assert not torch.equal(run(model), plain)


def test_factors_for_the_convolution(tmp_path: Path, facts: list[CheckpointFacts]) -> None:
    down, up = torch.randn(RANK, 36, 1, 2, 2), torch.randn(256, RANK, 1, 1, 1)
    state = {"patch_embedding.lora_down.weight": down, "patch_embedding.lora_up.weight": up}
    lora = use(
        write_lora(tmp_path / "a.safetensors", {**state, "patch_embedding.alpha": torch.tensor(2.0)}), facts
    )
    model, other = load(facts), load(facts)
    wear(model, lora)
    other.patch_embedding.weight.data += (
        STRENGTH * 2 / RANK * torch.einsum("orabc,rixyz->oixyz", up, down).reshape(256, 36, 1, 2, 2)
    )
    assert relative_error(run(model), run(other)) < EXACT


def test_audio_layers_have_no_place_without_them(
    tmp_path: Path, facts: list[CheckpointFacts], changes: Changes
) -> None:
    path = write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["peft"]))
    assert all("audio" in name for name in use(path, facts[:1]).facts.homeless)
    text = [inspect_checkpoint(facts[0].path.parent / "tiny_t2v.safetensors")]
    homeless = use(path, text).facts.homeless
    assert homeless and all("audio" in n or "_img" in n or "img_emb" in n for n in homeless)
    assert use(path, text).facts.misfits == ("base_model.model.patch_embedding.diff",)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"blocks.0.ffn.0.lora_A.weight": (4, 9), "blocks.0.ffn.0.lora_B.weight": (64, 4)},
            "of another size",
        ),
        ({"single_blocks.0.linear1.lora_A.weight": (4, 9)}, "has no layer of this model"),
        ({"blocks.0.ffn.0.weight": (64, 256)}, "is not a LoRA"),
        ({"blocks.0.ffn.0.lora_A.weight": (4, 256), "blocks.0.ffn.0.dora_scale": (64, 1)}, "is a DoRA file"),
        ({"lycoris_blocks_0_ffn_0.lokr_w1": (4, 4)}, "is a LoKr file"),
        (
            {
                "blocks.0.ffn.0.lora_A.weight": (4, 256),
                "blocks.0.ffn.0.lora_B.weight": (64, 4),
                "blocks.0.ffn.0.alpha": (2,),
            },
            "is no number",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, facts: list[CheckpointFacts], state: dict[str, tuple[int, ...]], words: str
) -> None:
    path = write_lora(tmp_path / "a.safetensors", {name: torch.zeros(shape) for name, shape in state.items()})
    with pytest.raises(UserError, match=words):
        use(path, facts)


@pytest.mark.parametrize(
    ("files", "branches"),
    [
        (("wan2_1_i2v_14b_480p", "infinitetalk_single_audio"), 40 * (12 + 3) + 8 + 4),
        (("wan2_1_i2v_14b_720p",), 40 * 12 + 8),
        (("wan2_1_t2v_14b",), 40 * 10 + 6),
        (("wan2_1_t2v_1_3b",), 30 * 10 + 6),
    ],
)
@pytest.mark.parametrize("style", STYLES)
def test_each_tensor_of_the_published_models_has_its_place(
    tmp_path: Path, files: tuple[str, ...], branches: int, style: str
) -> None:
    """A LoRA for all of them, headers alone: nothing is left out, in any spelling."""
    found, spell = STYLES[style], STYLES[style].spell
    models, header = [], {}
    for name in files:
        model = {tensor: ("BF16", shape) for tensor, shape in manifests()[name].items()}
        models.append(inspect_checkpoint(write_header(tmp_path / f"{name}.safetensors", model)))
        for tensor, shape in manifests()[name].items():
            layer, _, leaf = tensor.rpartition(".")
            if len(shape) == 2 and leaf == "weight":
                header[spell(layer, found.factors[0])] = ("BF16", [RANK, shape[1]])
                header[spell(layer, found.factors[1])] = ("BF16", [shape[0], RANK])
            else:
                leaves = {"weight": "diff", "bias": "diff_b", "modulation": found.modulation}
                header[spell(layer, leaves[leaf])] = ("BF16", shape)
    path = write_header(tmp_path / "lora.safetensors", header)
    facts = inspect_lora(path, "all", parameter_shapes(models))
    assert not leftovers(facts) and len(facts.branches) == branches
    placed = {f"{name}.weight" for name in facts.branches} | facts.differences.keys()
    assert placed == parameter_shapes(models).keys()


@pytest.mark.parametrize("kind", [*SAFETENSORS.values(), *GGUF.values()], ids=[*SAFETENSORS, *GGUF])
def test_sizes_are_known_of_every_kind_of_model_file(tmp_path: Path, kind: Kind | GgufKind) -> None:
    """Whatever a weight is packed into, a LoRA is held against the weight itself."""
    if isinstance(kind, Kind):
        path = write_kind(kind, tmp_path / "some.safetensors").path
    else:
        path = write_gguf_kind(kind, tmp_path / "some.gguf").path
    facts = [inspect_checkpoint(path)]
    wanted = {name: tuple(tensor.shape) for name, tensor in original(kind.base).items()}
    assert parameter_shapes(facts) == wanted
