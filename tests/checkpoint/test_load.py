"""Files in official names -> ready modules: same weights, right dtypes, one sentence on a misfit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from tests.checkpoint.samples import below, golden, small_vocabulary
from wanvideo.checkpoint import load
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.keys import to_official
from wanvideo.checkpoint.staging import Carrier
from wanvideo.checkpoint.state import module_state, read_state
from wanvideo.errors import UserError
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.transformer import WanTransformer

AUDIO = AudioConfig(layers=3, channels=4, intermediate_dim=8, context_tokens=6, output_dim=12)
SIZES: dict[str, Any] = {
    "num_attention_heads": 1,
    "attention_head_dim": 128,
    "text_dim": 24,
    "freq_dim": 32,
    "ffn_dim": 40,
    "num_layers": 2,
}
IMAGE_SIZES: dict[str, Any] = SIZES | {"in_channels": 36, "image_dim": 80, "added_kv_proj_dim": 128}


def transformer(sizes: dict[str, Any] = IMAGE_SIZES, audio: AudioConfig | None = None) -> WanTransformer:
    torch.manual_seed(0)
    return WanTransformer(**sizes, audio=audio)


def vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=4, decoder_base_dim=8, num_res_blocks=1)


def text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=300, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return UMT5EncoderModel(config)


def image_encoder(**sizes: Any) -> CLIPVisionModel:
    plain = {"hidden_size": 160, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPVisionModel(
        CLIPVisionConfig(**(plain | sizes), image_size=28, patch_size=14, hidden_act="gelu")
    )


def speech_encoder() -> Wav2Vec2Model:
    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=32,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )
    return Wav2Vec2Model(config)


ENCODERS: list[tuple[str, Callable[[], Any], Callable[..., Any]]] = [
    ("vae", vae, load.load_vae),
    ("text_encoder", text_encoder, load.load_text_encoder),
    ("image_encoder", image_encoder, load.load_image_encoder),
    ("speech_encoder", speech_encoder, load.load_speech_encoder),
]


def saved(path: Path, component: str, state: dict[str, Tensor], prefix: str = "") -> CheckpointFacts:
    official = to_official(component, state)
    save_file({prefix + name: tensor.contiguous() for name, tensor in official.items()}, path)
    return inspect_checkpoint(path)


def audio_part(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor for name, tensor in module.state_dict().items() if "audio_" in name or "norm_x" in name
    }


def assert_same(module: nn.Module, state: dict[str, Tensor], dtype_of: Callable[[str], torch.dtype]) -> None:
    loaded = module.state_dict()
    assert loaded.keys() == state.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == dtype_of(name), name
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name
    assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(("component", "build", "loader"), ENCODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_encoders(
    component: str, build: Callable[[], Any], loader: Callable[..., Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    module = build()
    facts = saved(tmp_path / "file.safetensors", component, module.state_dict())
    loaded = loader(facts, dtype=dtype)
    assert_same(loaded, module.state_dict(), lambda _: dtype)


def test_the_shared_embedding_stays_one_parameter(tmp_path: Path) -> None:
    facts = saved(tmp_path / "t5.safetensors", "text_encoder", text_encoder().state_dict())
    loaded = load.load_text_encoder(facts)
    assert loaded.encoder.embed_tokens.weight is loaded.shared.weight


def test_the_shared_embedding_is_placed_once(tmp_path: Path) -> None:
    facts = saved(tmp_path / "t5.safetensors", "text_encoder", text_encoder().state_dict())
    state, carrier = module_state(facts, torch.bfloat16), Carrier("cpu", 0)
    placed = load._place_all(state, lambda _: torch.bfloat16, "cpu", carrier)
    assert placed["shared.weight"] is placed["encoder.embed_tokens.weight"]


def test_fp16_text_encoder_keeps_what_overflows_in_fp32(tmp_path: Path) -> None:
    module = text_encoder()
    facts = saved(tmp_path / "t5.safetensors", "text_encoder", module.state_dict())
    assert_same(
        load.load_text_encoder(facts, dtype=torch.float16),
        module.state_dict(),
        lambda name: torch.float32 if name.endswith("DenseReluDense.wo.weight") else torch.float16,
    )


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("sizes", [SIZES, IMAGE_SIZES])
def test_transformer_keeps_its_sensitive_parts_in_fp32(
    sizes: dict[str, Any], prefix: str, tmp_path: Path
) -> None:
    module = transformer(sizes)
    facts = saved(tmp_path / "wan.safetensors", "transformer", module.state_dict(), prefix)
    loaded = load.load_transformer(facts, dtype=torch.bfloat16)
    assert_same(
        loaded, module.state_dict(), lambda name: torch.float32 if keeps_fp32(name) else torch.bfloat16
    )
    assert loaded.proj_out.weight.dtype == torch.float32


def test_infinitetalk_joins_its_base_and_a_merged_file_is_the_same(tmp_path: Path) -> None:
    module = transformer(audio=AUDIO)
    state, audio = module.state_dict(), audio_part(module)
    base = saved(
        tmp_path / "i2v.safetensors",
        "transformer",
        {name: tensor for name, tensor in state.items() if name not in audio},
    )
    talk = saved(tmp_path / "talk.safetensors", "infinitetalk", audio)
    merged = saved(tmp_path / "merged.safetensors", "transformer", state)
    assert (base.has_audio, talk.component, merged.task_hint) == (False, "infinitetalk", "talk")
    for loaded in (load.load_transformer(base, talk, dtype=torch.float32), load.load_transformer(merged)):
        found = loaded.audio_proj.config
        assert (found.layers * found.channels, found.context_tokens, found.output_dim) == (12, 6, 12)
    assert_same(load.load_transformer(base, talk, dtype=torch.float32), state, lambda _: torch.float32)


def test_infinitetalk_on_a_wrong_base_is_refused(tmp_path: Path) -> None:
    talk = saved(tmp_path / "talk.safetensors", "infinitetalk", audio_part(transformer(audio=AUDIO)))
    text_only = saved(tmp_path / "t2v.safetensors", "transformer", transformer(SIZES).state_dict())
    with pytest.raises(UserError, match="needs an image-to-video model"):
        load.load_transformer(text_only, talk)
    deeper = transformer(IMAGE_SIZES | {"num_layers": 3})
    other = saved(tmp_path / "deep.safetensors", "transformer", deeper.state_dict())
    with pytest.raises(UserError, match="another size .* got '2 blocks of 128'; allowed: 3 blocks of 128"):
        load.load_transformer(other, talk)


def test_fp32_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    facts = saved(tmp_path / "vae.safetensors", "vae", vae().state_dict())
    state = read_state(facts)
    placed = load._place(state["conv1.weight"], torch.float32, "cpu")
    assert placed.data_ptr() == state["conv1.weight"].data_ptr()


def test_a_pickle_loads_like_a_safetensors_file(tmp_path: Path) -> None:
    module = vae()
    torch.save(to_official("vae", module.state_dict()), tmp_path / "Wan2.1_VAE.pth")
    loaded = load.load_vae(inspect_checkpoint(tmp_path / "Wan2.1_VAE.pth"))
    assert_same(loaded, module.state_dict(), lambda _: torch.float32)


MISFITS: list[tuple[str, Callable[[dict[str, Tensor]], Any]]] = [
    (
        r"some.safetensors .* lacks blocks.1.attn1.to_q.bias",
        lambda state: state.pop("blocks.1.self_attn.q.bias"),
    ),
    (
        r"some.safetensors has tensors that .* does not have: extra.thing",
        lambda state: state.update({"extra.thing": torch.ones(1)}),
    ),
    (r"has other shapes in proj_out.bias", lambda state: state.update({"head.head.bias": torch.ones(3)})),
]


@pytest.mark.parametrize(("sentence", "spoil"), MISFITS)
def test_a_misfit_names_the_file_and_the_tensor(
    sentence: str, spoil: Callable[[dict[str, Tensor]], Any], tmp_path: Path
) -> None:
    state = to_official("transformer", transformer(SIZES).state_dict())
    spoil(state)
    save_file(state, tmp_path / "some.safetensors")
    with pytest.raises(UserError, match=sentence):
        load.load_transformer(inspect_checkpoint(tmp_path / "some.safetensors"))


def test_a_config_beside_the_file_tells_the_heads(tmp_path: Path) -> None:
    tensors, info = golden("clip_visual_tiny.safetensors")
    save_file(below(tensors, "w."), tmp_path / "clip.safetensors")
    facts = inspect_checkpoint(tmp_path / "clip.safetensors")
    assert load.load_image_encoder(facts).config.num_attention_heads == 1
    heads = info["cfg"]["num_heads"]
    explicit = load.load_image_encoder(facts, config={"num_attention_heads": heads})
    assert explicit.config.num_attention_heads == heads == 4
    config = tmp_path / "config.json"
    config.write_text('{"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}')
    assert load.load_image_encoder(facts).config.num_attention_heads == 4
    config.write_text('{"hidden_size": 5120, "num_attention_heads": 40}')  # of some other model in the folder
    assert load.load_image_encoder(facts).config.num_attention_heads == 1


@pytest.mark.parametrize(
    "told", [{"mask_time_prob": 0.0}, {"conv_dim": [8]}, {"feat_extract_norm": "layer"}, {"conv_bias": True}]
)
def test_a_config_cannot_overrule_shapes(told: dict[str, Any], tmp_path: Path) -> None:
    """The official release says mask_time_prob 0 and has the mask embedding all the same."""
    module = speech_encoder()
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2} | told
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load.load_speech_encoder(inspect_checkpoint(tmp_path / "pytorch_model.bin"))
    assert loaded.config.num_attention_heads == 2
    assert_same(loaded, module.state_dict(), lambda _: torch.float32)


def test_tokenizer_beside_the_encoder_or_inside_it(tmp_path: Path) -> None:
    vocabulary = small_vocabulary()
    (tmp_path / "spiece.model").write_bytes(vocabulary)
    beside = load.load_tokenizer(tmp_path / "spiece.model")
    embedded = torch.frombuffer(bytearray(vocabulary), dtype=torch.uint8)
    state = text_encoder().state_dict()
    del state["encoder.embed_tokens.weight"]
    save_file(state | {"spiece_model": embedded}, tmp_path / "comfy.safetensors")
    inside = load.load_tokenizer(tmp_path / "comfy.safetensors")
    assert beside.encode("a cat") == inside.encode("a cat") and beside.encode("a cat")[-1] == 1
    assert load.load_text_encoder(inspect_checkpoint(tmp_path / "comfy.safetensors")).config.num_heads == 4
    (tmp_path / "bad.model").write_bytes(b"no vocabulary")
    with pytest.raises(UserError, match="bad.model is damaged"):
        load.load_tokenizer(tmp_path / "bad.model")
    saved(tmp_path / "plain.safetensors", "text_encoder", text_encoder().state_dict())
    with pytest.raises(UserError, match="put spiece.model of umt5-xxl beside plain.safetensors"):
        load.load_tokenizer(tmp_path / "plain.safetensors")


def test_a_text_encoder_in_scaled_fp8_is_made_dense(tmp_path: Path) -> None:
    """ComfyUI's file: names of transformers, the marker, a scale beside each linear, also the wide one."""
    module = text_encoder()
    state = {n: t for n, t in module.state_dict().items() if n != "encoder.embed_tokens.weight"}
    wanted = dict(module.state_dict())
    for name in [n for n in state if n.endswith((".q.weight", ".wo.weight"))]:
        scale = state[name].abs().max() / 448
        state[name] = (state[name] / scale).to(torch.float8_e4m3fn)
        state[f"{name.removesuffix('weight')}scale_weight"] = scale.reshape(1)
        wanted[name] = state[name].float() * scale
    save_file(state | {"scaled_fp8": torch.zeros(0).to(torch.float8_e4m3fn)}, tmp_path / "t5.safetensors")
    loaded = load.load_text_encoder(inspect_checkpoint(tmp_path / "t5.safetensors"), dtype=torch.float32)
    assert_same(loaded, wanted, lambda _: torch.float32)
