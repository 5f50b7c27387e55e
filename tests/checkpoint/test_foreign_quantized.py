"""8 and 4 bits as other programs write them: INT8, optimum-quanto, NVFP4 of ModelOpt and LightX2V."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoint.quantized_files import State, linear_stems, marker, official_state, small_model, write
from wanvideo.checkpoint.convert import Conversion, convert
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.load import load_text_encoder, load_transformer
from wanvideo.effective_mode import as_stored_mode
from wanvideo.errors import UserError
from wanvideo.quantization import nvfp4, nvfp4_layout
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import quantization_modes

MODES = quantization_modes()
WIDE = {"num_attention_heads": 2, "ffn_dim": 512, "added_kv_proj_dim": 256}  # NVFP4 rows and tiles are alike
QUERY = "blocks.1.self_attn.q"


def integers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(int8, fp32 scale of each row)."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round().to(torch.int8), scale


def lightx2v_int8(state: State) -> State:
    written = dict(state)
    for stem in linear_stems(state):
        written[f"{stem}.weight"], written[f"{stem}.weight_scale"] = integers(state[f"{stem}.weight"])
    return written


def quanto(state: State, dtype: torch.dtype = torch.int8) -> State:
    written = dict(state)
    for stem in linear_stems(state):
        weight = written.pop(f"{stem}.weight")
        scale = weight.abs().amax(1, keepdim=True) / (127 if dtype == torch.int8 else 448)
        values = (weight / scale).round() if dtype == torch.int8 else weight / scale
        written |= {f"{stem}.weight._data": values.to(dtype), f"{stem}.weight._scale": scale}
        written |= {f"{stem}.input_scale": torch.ones(()), f"{stem}.output_scale": torch.ones(())}
    return written


def query_of(facts: CheckpointFacts, **how: Any) -> StoredWeight:
    part = load_transformer(facts, **how).blocks[1].attn1.to_q
    assert isinstance(part, QLinear)
    return part.stored()


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


@pytest.mark.parametrize("written", [lightx2v_int8, quanto], ids=["lightx2v", "quanto"])
@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_int8_is_kept_bit_by_bit(written: Callable[[State], State], prefix: str, tmp_path: Path) -> None:
    state = official_state(small_model())
    file = {prefix + name: tensor for name, tensor in written(state).items()}
    facts = write(tmp_path / "a.safetensors", file)
    assert (facts.component, facts.stored.weights, facts.stored.scaled) == ("transformer", "int8", True)
    assert facts.stored.layers == len(linear_stems(state))
    assert facts.num_parameters == sum(tensor.numel() for tensor in state.values())
    payload, scale = integers(state[f"{QUERY}.weight"])
    for mode in MODES.values():
        query = query_of(facts, mode=mode)
        if mode.store is not None and mode.bytes_per_weight < 1:
            assert query.format in mode.accepts  # four bits are fewer
            continue
        assert query.format == "int8" and query.tensors.keys() == {"weight", "weight_scale"}
        assert torch.equal(query.tensors["weight"], payload)
        assert torch.equal(query.tensors["weight_scale"], scale)


def test_int8_is_written_and_read_again(tmp_path: Path) -> None:
    facts = write(tmp_path / "a.safetensors", quanto(official_state(small_model())))
    job = Conversion(source=facts, output=tmp_path / "b.safetensors", mode=as_stored_mode(MODES))
    convert(job)
    again = inspect_checkpoint(tmp_path / "b.safetensors")
    assert (again.stored.weights, again.stored.layers) == ("int8", facts.stored.layers)
    first, second = query_of(facts), query_of(again)
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_quanto_in_fp8_is_scaled_fp8(tmp_path: Path) -> None:
    state = official_state(small_model())
    facts = write(tmp_path / "a.safetensors", quanto(state, torch.float8_e4m3fn))
    assert (facts.stored.weights, facts.stored.scaled) == ("e4m3", True)
    query = query_of(facts, mode=MODES["fp8_e4m3fn_scaled_fast"])
    assert query.tensors.keys() == {"weight", "weight_scale"}  # its input scale of 1 says nothing
    scale = state[f"{QUERY}.weight"].abs().amax(1, keepdim=True) / 448
    wanted = (state[f"{QUERY}.weight"] / scale).to(torch.float8_e4m3fn)
    assert torch.equal(bits(query.tensors["weight"]), bits(wanted))


def test_an_int8_text_encoder(tmp_path: Path) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    sizes: dict[str, Any] = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2}
    torch.manual_seed(0)
    model = UMT5EncoderModel(UMT5Config(**sizes, num_heads=4, feed_forward_proj="gated-gelu"))
    state = {n: t.detach() for n, t in model.state_dict().items() if n != "encoder.embed_tokens.weight"}
    name = "encoder.block.1.layer.1.DenseReluDense.wi_0"
    payload, scale = integers(state[f"{name}.weight"])
    for form in (
        {"weight": payload, "weight_scale": scale},
        {"weight._data": payload, "weight._scale": scale},
    ):
        file = {n: t for n, t in state.items() if n != f"{name}.weight"}
        facts = write(tmp_path / "t5.safetensors", file | {f"{name}.{part}": t for part, t in form.items()})
        loaded = load_text_encoder(facts, dtype=torch.float32).state_dict()
        assert torch.equal(loaded[f"{name}.weight"], payload.float() * scale)


def four_bits(state: State) -> dict[str, StoredWeight]:
    """The linears in our own layout, which is ComfyUI's."""
    weights = {stem: nvfp4.quantize(state[f"{stem}.weight"]) for stem in linear_stems(state)}
    return {stem: weight for stem, weight in weights.items() if weight.shape[1] % 16 == 0}


def in_rows(weight: StoredWeight) -> Tensor:
    return nvfp4_layout.unswizzle(weight.tensors["weight_scale"], weight.shape[0], weight.shape[1] // 16)


def comfy(weight: StoredWeight) -> State:
    return {**weight.tensors, "comfy_quant": marker(False, "nvfp4")}


def comfy_unmarked(weight: StoredWeight) -> State:
    return dict(weight.tensors)


def modelopt(weight: StoredWeight) -> State:
    return {
        "weight": nvfp4_layout.swap_nibbles(weight.tensors["weight"]),
        "weight_scale": in_rows(weight),
        "weight_scale_2": weight.tensors["weight_scale_2"],
        "input_scale": torch.tensor(0.25),
    }


def lightx2v(weight: StoredWeight) -> State:
    return {
        "weight": nvfp4_layout.swap_nibbles(weight.tensors["weight"]),
        "weight_scale": weight.tensors["weight_scale"],
        "weight_global_scale": 1 / weight.tensors["weight_scale_2"],
        "input_absmax": torch.tensor([0.25 * 448 * 6]),
    }


def packed_file(state: State, form: Callable[[StoredWeight], State]) -> State:
    written = dict(state)
    for stem, weight in four_bits(state).items():
        written |= {f"{stem}.{part}": tensor.clone() for part, tensor in form(weight).items()}
    return written


ORDERS = [
    (comfy, WIDE, None),
    (comfy, {}, None),
    (comfy_unmarked, {}, None),  # a row of 8 blocks, and 40 rows in a tile of 128: shapes tell
    (modelopt, WIDE, 0.25),
    (modelopt, {}, 0.25),
    (lightx2v, WIDE, 0.25),
    (lightx2v, {}, 0.25),
]


@pytest.mark.parametrize(("form", "sizes", "input_scale"), ORDERS)
def test_nvfp4_of_every_order_is_the_same_weight(
    form: Callable[[StoredWeight], State], sizes: dict[str, Any], input_scale: float | None, tmp_path: Path
) -> None:
    state = official_state(small_model(**sizes))
    facts = write(tmp_path / "a.safetensors", packed_file(state, form))
    assert (facts.stored.weights, facts.stored.layers) == ("nvfp4", len(four_bits(state)))
    wanted = nvfp4.quantize(state[f"{QUERY}.weight"])
    for mode in (MODES["fp4_scaled"], as_stored_mode(MODES)):
        query = query_of(facts, mode=mode)
        assert query.shape == wanted.shape
        for part in ("weight", "weight_scale"):
            assert torch.equal(bits(query.tensors[part]), bits(wanted.tensors[part])), part
        torch.testing.assert_close(
            query.tensors["weight_scale_2"], wanted.tensors["weight_scale_2"], rtol=1e-6, atol=0
        )
        found = query.tensors.get("input_scale")
        assert (None if found is None else float(found)) == input_scale


def test_one_layer_whose_shape_tells_decides_for_the_file(tmp_path: Path) -> None:
    """Unmarked scales in tiles: most layers fit both orders, and one of 40 rows only this one."""
    state = official_state(small_model(num_attention_heads=2, added_kv_proj_dim=256, ffn_dim=48))
    facts = write(tmp_path / "a.safetensors", packed_file(state, comfy_unmarked))
    wanted = nvfp4.quantize(state[f"{QUERY}.weight"]).tensors["weight"]
    assert torch.equal(query_of(facts).tensors["weight"], wanted)


def test_scales_that_fit_no_order_are_told(tmp_path: Path) -> None:
    state = packed_file(official_state(small_model(**WIDE)), comfy)
    state[f"{QUERY}.weight_scale"] = torch.zeros(256, 12).to(torch.float8_e4m3fn)
    with pytest.raises(UserError, match="scales of an unknown order"):
        write(tmp_path / "a.safetensors", state)
    mixed = official_state(small_model())
    mixed = packed_file(mixed, comfy_unmarked) | {
        f"{QUERY}.{part}": tensor for part, tensor in modelopt(four_bits(mixed)[QUERY]).items()
    }
    mixed[f"{QUERY}.weight_scale"] = mixed[f"{QUERY}.weight_scale"][:, :7].contiguous()
    with pytest.raises(UserError, match="scales of an unknown order"):
        write(tmp_path / "b.safetensors", mixed)


SPOILT: list[tuple[str, Tensor]] = [
    (f"{QUERY}.weight_scale", torch.full((128, 1), float("nan"))),
    ("blocks.0.norm3.weight", torch.full((128,), float("inf"))),
    ("head.modulation", torch.full((1, 2, 128), float("nan"))),
]


@pytest.mark.parametrize(("name", "tensor"), SPOILT)
def test_what_holds_no_numbers_is_told_with_its_name(name: str, tensor: Tensor, tmp_path: Path) -> None:
    state = lightx2v_int8(official_state(small_model()))
    assert state[name].shape == tensor.shape
    facts = write(tmp_path / "a.safetensors", state | {name: tensor})
    with pytest.raises(UserError, match=f"a.safetensors is damaged: the tensor {name} holds values"):
        load_transformer(facts)
