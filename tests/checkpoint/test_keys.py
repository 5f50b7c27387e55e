"""Key tables against every published key set, at real size on meta, and against diffusers' converters."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from tests.checkpoint.samples import component_of, manifests, meta_state
from wanvideo.checkpoint import configs
from wanvideo.checkpoint.keys import (
    IGNORED,
    find_prefix,
    ignored_reason,
    to_module,
    to_official,
    unexplained_names,
)
from wanvideo.checkpoint.layouts import TABLES
from wanvideo.errors import UserError
from wanvideo.models.transformer import WanTransformer

Build = Callable[[dict[str, Tensor]], nn.Module]
BUILDERS: dict[str, Build] = {
    "transformer": lambda state: WanTransformer(
        **configs.transformer_config(state), audio=configs.audio_config(state)
    ),
    "vae": lambda state: AutoencoderKLWan(**configs.vae_config(state)),
    "text_encoder": lambda state: UMT5EncoderModel(UMT5Config(**configs.text_encoder_config(state))),
    "image_encoder": lambda state: CLIPVisionModel(CLIPVisionConfig(**configs.image_encoder_config(state))),
    "speech_encoder": lambda state: Wav2Vec2Model(Wav2Vec2Config(**configs.speech_encoder_config(state))),
}
WHOLE = [name for name in manifests() if component_of(name) != "infinitetalk"]
AUDIO = [name for name in manifests() if component_of(name) == "infinitetalk"]


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def built_on_meta(component: str, state: dict[str, Tensor]) -> nn.Module:
    with torch.device("meta"):
        return BUILDERS[component](state)


@pytest.mark.parametrize("manifest", WHOLE)
def test_every_published_tensor_has_its_place_in_the_real_module(manifest: str) -> None:
    component, state = component_of(manifest), meta_state(manifest)
    assert unexplained_names(component, state) == []
    mapped = to_module(component, state)
    assert shapes(mapped) == shapes(built_on_meta(component, mapped).state_dict())


@pytest.mark.parametrize("manifest", AUDIO)
def test_infinitetalk_fills_exactly_what_the_audio_branch_adds(manifest: str) -> None:
    base = to_module("transformer", meta_state("wan2_1_i2v_14b_480p"))
    audio = to_module("infinitetalk", meta_state(manifest))
    assert len(audio) == 330 and not base.keys() & audio.keys()
    assert shapes(base | audio) == shapes(built_on_meta("transformer", base | audio).state_dict())


@pytest.mark.parametrize("manifest", manifests())
def test_the_way_back_gives_the_file(manifest: str) -> None:
    component, state = component_of(manifest), meta_state(manifest)
    wanted = {name: tensor for name, tensor in state.items() if not ignored_reason(component, name)}
    assert shapes(to_official(component, to_module(component, state))) == shapes(wanted)


@pytest.mark.parametrize("manifest", manifests())
def test_module_names_are_taken_as_they_are(manifest: str) -> None:
    component = component_of(manifest)
    mapped = to_module(component, meta_state(manifest))
    assert shapes(to_module(component, mapped)) == shapes(mapped)


def test_values_survive_both_ways_bit_by_bit() -> None:
    for manifest in ("clip_xlm_roberta_vit_h_14_visual", "umt5_xxl_encoder", "wav2vec2_base", "wan2_1_vae"):
        component = component_of(manifest)
        generator = torch.Generator().manual_seed(0)
        state = {
            name: torch.rand([min(size, 6) for size in shape], generator=generator)
            for name, shape in manifests()[manifest].items()
            if not ignored_reason(component, name)
        }
        back = to_official(component, to_module(component, state))
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize("manifest", [name for name in WHOLE if component_of(name) in ("transformer", "vae")])
def test_agrees_with_the_converters_of_diffusers(manifest: str) -> None:
    component, state = component_of(manifest), meta_state(manifest)
    # That converter takes audio_cross_attn for a cross_attn, so the audio keys stay out of its way.
    base = {name: tensor for name, tensor in state.items() if not re.search(r"audio_|norm_x", name)}
    convert: Any = (
        convert_wan_vae_to_diffusers if component == "vae" else convert_wan_transformer_to_diffusers
    )
    reference = convert(dict(base))
    ours = to_module(component, base)
    assert ours.keys() == reference.keys()
    assert all(ours[name] is reference[name] for name in ours)


@pytest.mark.parametrize(("resnets", "decoder_dim"), [(1, 8), (1, 16), (2, 12), (3, 8)])
def test_vae_of_any_depth_and_width(resnets: int, decoder_dim: int) -> None:
    sizes = {"base_dim": 8, "decoder_base_dim": decoder_dim, "num_res_blocks": resnets}
    with torch.device("meta"):
        state = AutoencoderKLWan(**sizes).state_dict()
    official = to_official("vae", state)
    assert shapes(to_module("vae", official)) == shapes(state)
    assert sizes.items() <= configs.vae_config(to_module("vae", official)).items()
    # The official decoder has one more residual block than the encoder at each size, then a resampler.
    assert f"decoder.upsamples.{resnets + 1}.resample.1.weight" in official


@pytest.mark.parametrize("component", TABLES)
def test_tables_are_bijective(component: str) -> None:
    names = [
        name
        for manifest in manifests()
        if component_of(manifest) == component
        for name in manifests()[manifest]
    ]
    table = TABLES[component]([name.removeprefix("visual.") for name in names])
    targets = [stem for target in table.values() for stem in target.stems]
    assert len(targets) == len(set(targets)) > 10
    for stems in (list(table), targets):
        known = set(stems)
        parents = {
            ".".join(parts[:n]) for stem in stems if (parts := stem.split(".")) for n in range(1, len(parts))
        }
        assert not known & parents, "a stem inside another one would be ambiguous"


PREFIXES = ["", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "_orig_mod."]


@pytest.mark.parametrize("prefix", [*PREFIXES, "model.diffusion_model._orig_mod."])
def test_prefixes_come_off(prefix: str) -> None:
    state = {f"{prefix}{name}": 1 for name in ("patch_embedding.weight", "blocks.0.modulation")} | {
        "scaled_fp8": 1
    }
    assert find_prefix(state) == prefix


def test_other_spellings_of_a_component() -> None:
    speech = to_module("speech_encoder", meta_state("wav2vec2_base"))
    prefixed = {f"wav2vec2.{name}": tensor for name, tensor in meta_state("wav2vec2_base").items()}
    heads = {"quantizer.codevectors": torch.empty(1), "project_hid.bias": torch.empty(1)}
    assert shapes(to_module("speech_encoder", prefixed | heads)) == shapes(speech)
    image = to_module("image_encoder", meta_state("clip_xlm_roberta_vit_h_14_visual"))
    comfy = {f"vision_model.{name}": tensor for name, tensor in image.items()}
    assert shapes(to_module("image_encoder", comfy)) == shapes(image)
    merged = {
        f"multitalk_{name}" if "audio_proj" in name else name for name in manifests()["infinitetalk_full"]
    }
    assert "audio_proj.norm.bias" in to_module("transformer", dict.fromkeys(merged, torch.empty(1)))


def test_scales_travel_with_their_weight() -> None:
    names = ["blocks.0.self_attn.q.weight", "blocks.0.self_attn.q.scale_weight", "blocks.0.norm3.bias"]
    assert list(to_module("transformer", {name: torch.empty(1) for name in names})) == [
        "blocks.0.attn1.to_q.weight",
        "blocks.0.attn1.to_q.scale_weight",
        "blocks.0.norm2.bias",
    ]


def test_foreign_names_are_refused_and_ignored_ones_have_a_reason() -> None:
    assert unexplained_names("vae", ["conv1.weight", "first_stage.x"]) == ["first_stage.x"]
    for convert in (to_module, to_official):
        with pytest.raises(UserError, match="first_stage.x"):
            convert("vae", {"first_stage.x": torch.empty(1)})
    assert all(rule.reason for rules in IGNORED.values() for rule in rules)
