"""The transformer against the official code's tensors, and against diffusers' own class at the same
weights.
"""

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoint.samples import GOLDEN_FOLDERS, below, golden_path, relative_error
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.keys import to_module
from wanvideo.checkpoint.load import load_transformer
from wanvideo.models.audio_projection import AudioConfig, AudioProjection
from wanvideo.models.passes import AudioContext, Context
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.transformer import Block, WanTransformer

SMALL = {
    "num_attention_heads": 2,
    "attention_head_dim": 128,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 64,
    "ffn_dim": 96,
    "num_layers": 2,
}
IMAGE = {"in_channels": 36, "image_dim": 80, "added_kv_proj_dim": 256}
LIMIT = 5e-6


def _golden_model(*names: str) -> WanTransformer:
    facts = [inspect_checkpoint(golden_path(f"{name}.safetensors")) for name in names]
    return load_transformer(*facts, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("weights", "io"),
    [
        (("wan_t2v_weights",), "wan_t2v_io"),
        (("wan_i2v_weights",), "wan_i2v_io"),
        (("infinitetalk_weights_base", "infinitetalk_weights_audio"), "infinitetalk_single_io"),
    ],
)
@torch.no_grad()
def test_forward_equals_the_official_code(weights: tuple[str, ...], io: str) -> None:
    recorded = load_file(golden_path(f"{io}.safetensors"))
    model = _golden_model(*weights)
    context = model.embed_context(recorded["in.context"][None], recorded.get("in.clip_fea"))
    latents = recorded["in.x"][None]
    if "in.y" in recorded:
        latents = torch.cat([latents, recorded["in.y"].reshape(1, 20, *latents.shape[2:])], dim=1)
    spoken = silent = None
    if "in.audio" in recorded:
        spoken = AudioContext(model.embed_audio(recorded["in.audio"][None]))
        silent = AudioContext(model.embed_audio(torch.zeros_like(recorded["in.audio"][-1:])[None]))
    for index in range(3):
        v = model(latents, recorded[f"in.t{index}"], context, audio=spoken)
        assert relative_error(v[0], recorded[f"out{index}"]) <= LIMIT
    if silent is not None:
        v = model(latents, recorded["in.t1"], context, audio=silent)
        assert relative_error(v[0], recorded["out1_null_audio"]) <= LIMIT


@torch.no_grad()
def test_audio_projection_equals_the_official_code() -> None:
    recorded = load_file(golden_path("audio_proj.safetensors"))
    projection = AudioProjection(AudioConfig(intermediate_dim=8, output_dim=48))
    projection.load_state_dict(below(recorded, "w."))
    assert relative_error(projection(recorded["in.audio_windows"]), recorded["out"]) <= 1e-5


@torch.no_grad()
def test_one_block_equals_the_official_code() -> None:
    """The second block of the tiny InfiniteTalk golden: small enough to guard every run."""
    recorded = load_file(GOLDEN_FOLDERS[0] / "infinitetalk_block.safetensors")
    block = Block(dim=256, ffn_dim=320, heads=2, eps=1e-6, image=True, audio=AudioConfig(output_dim=48))
    first = {name.replace("blocks.1.", "blocks.0."): tensor for name, tensor in below(recorded, "w.").items()}
    state = to_module("transformer", first)
    block.load_state_dict(below(state, "blocks.0."), strict=True)
    rows = recorded["in.text_rows"]
    text = torch.cat(
        [rows, rows[:, -1:].expand(-1, 512 - rows.shape[1], -1)], dim=1
    )  # padding rows are all alike
    context = Context(text, recorded["in.image"])
    rotary = WanTransformer(**SMALL, in_channels=16).rotary(torch.empty(1, 16, 3, 8, 12))

    seen: list[Tensor] = []
    regions = SpeakerRegions(_token_masks(recorded["in.masks"]))
    exact = block.attention

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.append(regions.attention_map(query, key))
        return exact(query, key, value)

    block.attention = attend
    x = block(
        recorded["in.x"], context, recorded["in.modulation"], rotary, AudioContext(recorded["in.audio"])
    )
    assert relative_error(x, recorded["out.block"]) <= LIMIT
    assert relative_error(seen[0][0], recorded["out.map"]) <= LIMIT


def _token_masks(masks: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(masks[None], scale_factor=0.5)[0].gt(0).float().flatten(1)


@pytest.mark.parametrize("image", [False, True], ids=["t2v", "i2v"])
@torch.no_grad()
def test_equals_diffusers_class(image: bool) -> None:
    torch.manual_seed(0)
    config = {**SMALL, **(IMAGE if image else {"in_channels": 16})}
    reference = WanTransformer3DModel(**config).eval()
    ours = WanTransformer(**config).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    latents = torch.randn(2, config["in_channels"], 3, 8, 6)
    prompt = torch.randn(2, 512, 32)
    pictures = torch.randn(2, 257, 80) if image else None
    timestep = torch.tensor([731.0, 12.5])
    expected = reference(latents, timestep, prompt, pictures, return_dict=False)[0]
    # diffusers makes the timestep sinusoid in fp32: that alone is 5e-6 of the output
    assert relative_error(ours(latents, timestep, ours.embed_context(prompt, pictures)), expected) <= 2e-5


@torch.no_grad()
def test_each_speaker_is_heard_in_the_own_region() -> None:
    """Two voices with regions differ from the voices swapped, and an empty region neither crashes nor makes
    NaN.
    """
    torch.manual_seed(1)
    audio = AudioConfig(layers=2, channels=8, intermediate_dim=8, context_tokens=4, output_dim=16)
    model = WanTransformer(**SMALL, **IMAGE, audio=audio).eval()
    latents, timestep = torch.randn(1, 36, 3, 8, 8), torch.tensor([500.0])
    context = model.embed_context(torch.randn(1, 7, 32), torch.randn(1, 257, 80))
    windows = torch.randn(1, 2, 9, 5, 2, 8)
    masks = torch.zeros(3, 16)
    masks[0, :6], masks[1, 10:], masks[2, 6:10] = 1, 1, 1
    outputs = []
    for speech, regions in (
        (windows, masks),
        (windows.flip(1), masks),
        (windows, masks * torch.tensor([[0.0], [1], [1]])),
    ):
        audio_context = AudioContext(model.embed_audio(speech), SpeakerRegions(regions))
        outputs.append(model(latents, timestep, context, audio=audio_context))
        assert bool(outputs[-1].isfinite().all())
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)


def test_batch_rows_do_not_touch_each_other() -> None:
    torch.manual_seed(2)
    model = WanTransformer(**SMALL, in_channels=16).eval()
    latents, prompt, timestep = (
        torch.randn(2, 16, 2, 4, 4),
        torch.randn(2, 5, 32),
        torch.tensor([900.0, 100.0]),
    )
    with torch.no_grad():
        both = model(latents, timestep, model.embed_context(prompt))
        alone = model(latents[1:], timestep[1:], model.embed_context(prompt[1:]))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_bf16_keeps_the_sensitive_parts_in_fp32() -> None:
    torch.manual_seed(3)
    model = WanTransformer(**SMALL, in_channels=16).eval()
    latents, prompt, timestep = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 5, 32), torch.tensor([600.0])
    exact = model(latents, timestep, model.embed_context(prompt))
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if keeps_fp32(name) else torch.bfloat16)
    rounded = model(latents, timestep, model.embed_context(prompt))
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).norm() / exact.norm()) < 2e-2


def test_small_goldens_stay_small() -> None:
    data = Path(__file__).parents[1] / "data"
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) <= 8_000_000
