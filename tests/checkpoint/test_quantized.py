"""Quantized weights: made from dense files, read from quantized ones, written and read again, bit by bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoint.quantized_files import (
    State,
    linear_stems,
    marker,
    official_state,
    plain_fp8,
    scaled_fp8,
    small_model,
    write,
)
from wanvideo.checkpoint.convert import Conversion, convert
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.load import load_transformer
from wanvideo.effective_mode import as_stored_mode
from wanvideo.errors import Cancelled, UserError
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.matmul import dequantized
from wanvideo.quantization.stored import StoredWeight
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode, quantization_modes

MODES = quantization_modes()
QUANTIZING = [mode for mode in MODES.values() if mode.store is not None]
named = pytest.mark.parametrize("mode", QUANTIZING, ids=lambda mode: mode.name)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> CheckpointFacts:
    return write(tmp_path_factory.mktemp("dense") / "wan.safetensors", official_state(small_model()))


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def weights_of(model: WanTransformer) -> dict[str, StoredWeight]:
    """Module name -> what is kept, of each linear that is quantized."""
    return {name: part.stored() for name, part in model.named_modules() if isinstance(part, QLinear)}


def assert_same_weights(first: dict[str, StoredWeight], second: dict[str, StoredWeight]) -> None:
    assert first.keys() == second.keys() and len(first) > 20
    for name, weight in first.items():
        other = second[name]
        assert (weight.format, weight.shape, weight.tensors.keys()) == (
            other.format,
            other.shape,
            other.tensors.keys(),
        )
        for part, tensor in weight.tensors.items():
            assert tensor.dtype == other.tensors[part].dtype, (name, part)
            assert torch.equal(bits(tensor), bits(other.tensors[part])), (name, part)


def assert_same_rest(first: WanTransformer, second: WanTransformer) -> None:
    """All that is not quantized, biases too."""
    rest = [
        {
            n: t
            for n, t in model.state_dict().items()
            if not is_quantized_linear(n.rpartition(".")[0]) or ".bias" in n
        }
        for model in (first, second)
    ]
    assert rest[0].keys() == rest[1].keys()
    for name, tensor in rest[0].items():
        assert tensor.dtype == rest[1][name].dtype and torch.equal(tensor, rest[1][name]), name


@named
def test_a_dense_file_is_quantized_weight_by_weight(mode: QuantizationMode, dense: CheckpointFacts) -> None:
    told: list[tuple[int, int]] = []
    model = load_transformer(dense, mode=mode, progress=lambda *done: told.append(done))
    found = weights_of(model)
    source = dict(small_model().named_modules())
    assert found.keys() == {name for name in source if is_quantized_linear(name)}
    assert mode.store is not None
    wanted = {name: mode.store(source[name].weight) for name in found}  # type: ignore[arg-type]
    assert_same_weights(found, wanted)
    assert_same_rest(model, load_transformer(dense))
    assert told == [(done, len(found)) for done in range(len(found) + 1)]
    assert not any(part.is_meta for part in [*model.parameters(), *model.buffers()])
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad
        if keeps_fp32(name):
            assert parameter.dtype == torch.float32, name


@named
def test_what_is_written_loads_bit_by_bit(
    mode: QuantizationMode, dense: CheckpointFacts, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    convert(
        Conversion(source=dense, output=tmp_path / "new.safetensors", mode=mode), lambda *d: told.append(d)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["new.safetensors"]
    assert told[-1][0] == told[-1][1] > 60
    facts = inspect_checkpoint(tmp_path / "new.safetensors")
    direct = load_transformer(dense, mode=mode)
    kept = weights_of(direct)
    assert facts.stored.weights in mode.accepts and facts.stored.others == ()
    assert facts.stored.layers == len(kept)
    assert facts.stored.bytes == sum(weight.nbytes for weight in kept.values())
    assert facts.bytes < 0.75 * dense.bytes and facts.num_parameters >= dense.num_parameters
    for again in (mode, as_stored_mode(MODES)):
        model = load_transformer(facts, mode=again)
        assert_same_weights(weights_of(model), kept)
        assert_same_rest(model, direct)
    convert(Conversion(source=facts, output=tmp_path / "twice.safetensors", mode=mode))
    assert (tmp_path / "twice.safetensors").read_bytes() == (tmp_path / "new.safetensors").read_bytes()


def test_a_dense_model_is_written_as_it_is(dense: CheckpointFacts, tmp_path: Path) -> None:
    convert(Conversion(source=dense, output=tmp_path / "a.safetensors", mode=as_stored_mode(MODES)))
    facts = inspect_checkpoint(tmp_path / "a.safetensors")
    assert (facts.stored, facts.bytes) == (dense.stored, dense.bytes)
    exact = load_transformer(dense, dtype=torch.float32).state_dict()
    for name, tensor in load_transformer(facts, dtype=torch.float32).state_dict().items():
        assert torch.equal(tensor, exact[name]), name


PLAIN = [
    (torch.float8_e4m3fn, "e4m3", ("fp8_e4m3fn", "fp8_e4m3fn_fast", "disabled")),
    (torch.float8_e5m2, "e5m2", ("fp8_e5m2", "fp8_e5m2_fast", "disabled")),
]


@pytest.mark.parametrize(("dtype", "format", "names"), PLAIN)
def test_plain_fp8_loads_bit_by_bit(
    dtype: torch.dtype, format: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    model = small_model()
    state = plain_fp8(official_state(model), dtype)
    facts = write(tmp_path / "plain.safetensors", state)
    assert (facts.stored.weights, facts.stored.scaled, facts.stored.exact_layers) == (format, False, 0)
    source = model.state_dict()
    for name in names:
        loaded = load_transformer(facts, mode=MODES[name])
        for stem, weight in weights_of(loaded).items():
            assert weight.tensors.keys() == {"weight"}
            assert torch.equal(bits(weight.tensors["weight"]), bits(source[f"{stem}.weight"].to(dtype)))
        assert loaded.proj_out.weight.dtype == torch.float32  # on the list of what is not quantized
        assert torch.equal(loaded.proj_out.weight, source["proj_out.weight"].to(dtype).float())
        patches = source["patch_embedding.weight"].to(dtype).to(torch.bfloat16)  # five dimensions
        assert torch.equal(loaded.patch_embedding.weight, patches)


@pytest.mark.parametrize("name", ["fp8_e4m3fn_scaled", "fp8_e4m3fn_scaled_fast"])
def test_a_scaled_name_gives_scales_and_changes_no_value(name: str, tmp_path: Path) -> None:
    state = official_state(small_model())
    state["blocks.0.ffn.0.weight"][3] = 0
    facts = write(tmp_path / "plain.safetensors", plain_fp8(state))
    before, after = (weights_of(load_transformer(facts, mode=MODES[n])) for n in ("fp8_e4m3fn", name))
    for stem, weight in after.items():
        assert weight.tensors["weight_scale"].shape == (weight.shape[0], 1)
        assert weight.tensors["weight"].float().abs().amax(1)[4] > 224  # the range is used
        exact, scaled = (FORMATS["e4m3"].dequantize(w, torch.float32) for w in (before[stem], weight))
        assert torch.equal(exact, scaled), stem


def comfy(state: State, exact: bool = False, _: str = "") -> tuple[State, dict[str, str]]:
    marked = {f"{stem}.comfy_quant": marker(exact) for stem in linear_stems(state)}
    return scaled_fp8(state, "weight_scale") | marked, {}


def kijai(state: State, exact: bool = False, _: str = "") -> tuple[State, dict[str, str]]:
    return scaled_fp8(state) | {"scaled_fp8": torch.zeros(2 if exact else 0).to(torch.float8_e4m3fn)}, {}


def metadata(state: State, exact: bool, prefix: str) -> tuple[State, dict[str, str]]:
    told = {"format": "float8_e4m3fn", "full_precision_matrix_mult": exact}
    layers = {prefix + stem: told for stem in linear_stems(state)}
    return scaled_fp8(state, "weight_scale"), {"_quantization_metadata": json.dumps({"layers": layers})}


LAYOUTS = {"comfy": comfy, "kijai": kijai, "metadata": metadata}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_scaled_layouts(layout: str, exact: bool, prefix: str, tmp_path: Path) -> None:
    source = official_state(small_model())
    written, extra = LAYOUTS[layout](source, exact, prefix)
    prefixed = {n if n == "scaled_fp8" else prefix + n: tensor for n, tensor in written.items()}
    stored = (facts := write(tmp_path / "a.safetensors", prefixed, extra)).stored
    assert (stored.weights, stored.scaled) == ("e4m3", True)
    assert stored.exact_layers == (stored.layers if exact else 0)
    query = load_transformer(facts, mode=MODES["fp8_e4m3fn_scaled_fast"]).blocks[0].attn1.to_q
    assert isinstance(query, QLinear)
    wanted, found = scaled_fp8(source), query.stored().tensors
    assert torch.equal(bits(found["weight"]), bits(wanted["blocks.0.self_attn.q.weight"]))
    assert torch.equal(found["weight_scale"], wanted["blocks.0.self_attn.q.scale_weight"])
    assert (query.multiply is dequantized) == exact


def test_an_fp8_file_under_a_4_bit_name_becomes_4_bit(tmp_path: Path) -> None:
    facts = write(tmp_path / "a.safetensors", kijai(official_state(small_model()))[0])
    mode = MODES["fp4_scaled"]
    found = weights_of(load_transformer(facts, mode=mode))
    eight = weights_of(load_transformer(facts))
    assert mode.store is not None
    for name, weight in found.items():
        assert weight.format == "nvfp4"
        wanted = mode.store(FORMATS["e4m3"].dequantize(eight[name], torch.float32))
        assert torch.equal(weight.tensors["weight"], wanted.tensors["weight"])


def test_a_4_bit_file_stays_so_under_an_8_bit_name(dense: CheckpointFacts, tmp_path: Path) -> None:
    convert(Conversion(source=dense, output=tmp_path / "a.safetensors", mode=MODES["fp4_scaled"]))
    facts = inspect_checkpoint(tmp_path / "a.safetensors")
    kept = weights_of(load_transformer(facts))
    for mode in QUANTIZING:
        assert_same_weights(weights_of(load_transformer(facts, mode=mode)), kept)


def test_a_mixed_file_keeps_each_layer(tmp_path: Path) -> None:
    state = comfy(official_state(small_model()))[0]
    source = official_state(small_model())
    for stem in linear_stems(source):
        if ".ffn." in stem:
            state[f"{stem}.weight"] = source[f"{stem}.weight"]
            del state[f"{stem}.weight_scale"], state[f"{stem}.comfy_quant"]
    facts = write(tmp_path / "a.safetensors", state)
    assert (facts.stored.weights, facts.stored.others) == ("e4m3", ("dense",))
    mode = MODES["fp4_experimental"]
    found = weights_of(load_transformer(facts, mode=mode))
    assert {weight.format for weight in found.values()} == {"nvfp4"}
    plain = load_transformer(facts)
    assert torch.equal(plain.blocks[1].ffn.net[2].weight, source["blocks.1.ffn.2.weight"].bfloat16())


FOREIGN: list[tuple[Callable[[State], None], str]] = [
    (
        lambda s: s.update({"blocks.0.norm3.weight": torch.zeros(2, 64, dtype=torch.int8)}),
        "weights of type I8",
    ),
    (
        lambda s: s.update({"blocks.0.ffn.0.weight": torch.zeros(40, 128, dtype=torch.int8)}),
        "marked float8_e4m3fn holds I8",
    ),
    (
        lambda s: s.update({"blocks.0.ffn.0.comfy_quant": marker(False, "int8_tensorwise")}),
        "weights in int8_tensorwise",
    ),
    (lambda s: s.update({"blocks.0.ffn.0.weight_scale": torch.ones(40, 8)}), "a scale per block"),
    (
        lambda s: s.update({"blocks.0.ffn.0.weight_scale": torch.ones(40, 4, dtype=torch.uint8)}),
        r"scales of type U8 \(MXFP8\)",
    ),
    (
        lambda s: s.update({"blocks.0.ffn.0.comfy_quant": marker(False, "float8_e5m2")}),
        "marked float8_e5m2 holds F8_E4M3",
    ),
    (
        lambda s: s.update({"blocks.0.ffn.0.comfy_quant": torch.zeros(4, dtype=torch.uint8)}),
        "marker of a.safetensors is damaged",
    ),
    (
        lambda s: s.update({"blocks.0.ffn.0.weight._data": torch.zeros(4, 4, dtype=torch.uint8)}),
        "optimum-quanto in fewer than 8 bits",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), FOREIGN)
def test_foreign_formats_are_named(spoil: Callable[[State], None], sentence: str, tmp_path: Path) -> None:
    state = comfy(official_state(small_model()))[0]
    spoil(state)
    with pytest.raises(UserError, match=sentence):
        write(tmp_path / "a.safetensors", state)


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"output": "wan.safetensors"}, "would replace the one it is made of"),
    ({"output": "there.safetensors"}, "exists already, .*--overwrite"),
    ({"output": "new.gguf"}, "must be named .safetensors"),
    ({"output": "nowhere/new.safetensors"}, "folder does not exist"),
]


@pytest.mark.parametrize(("asked", "sentence"), REFUSED)
def test_nothing_is_overwritten(asked: dict[str, str], sentence: str, tmp_path: Path) -> None:
    facts = write(tmp_path / "wan.safetensors", official_state(small_model()))
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    with pytest.raises(UserError, match=sentence):
        convert(Conversion(source=facts, output=tmp_path / asked["output"], mode=MODES["fp4_scaled"]))
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stopped_conversion_leaves_nothing(dense: CheckpointFacts, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 20:
            raise Cancelled

    old = tmp_path / "a.safetensors"
    old.write_bytes(b"mine")
    with pytest.raises(Cancelled):
        convert(Conversion(source=dense, output=old, mode=MODES["fp8_e4m3fn"], overwrite=True), stop)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    convert(Conversion(source=dense, output=old, mode=MODES["fp8_e4m3fn"], overwrite=True))
    assert inspect_checkpoint(old).stored.weights == "e4m3"


def test_a_full_disk_is_told_before(
    dense: CheckpointFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="is too full, got '0.0 GB free'"):
        convert(Conversion(source=dense, output=tmp_path / "a.safetensors", mode=MODES["fp8_e4m3fn"]))
    assert not list(tmp_path.iterdir())
