"""The VAE adapter: official goldens, normalisation, and the fast convolution against torch's own."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

from tests.checkpoint.samples import golden, relative_error
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.keys import to_module
from wanvideo.checkpoint.load import load_vae
from wanvideo.media.pictures import fit_picture, load_picture
from wanvideo.models.vae import decode, decode_pieces, encode, use_fast_cpu_convolution
from wanvideo.prepare import POCKET

EXAMPLE = Path(__file__).parents[2] / "examples" / "girl.png"


def small_vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval()


@pytest.mark.parametrize("fast", [False, True])
def test_goldens(fast: bool) -> None:
    tensors, _ = golden("wan_vae_io.safetensors")
    vae = AutoencoderKLWan(base_dim=8)
    vae.load_state_dict(to_module("vae", golden("wan_vae_weights.safetensors")[0]))
    vae.eval()
    if fast:
        use_fast_cpu_convolution(vae)
    for frames in (1, 9, 17):
        latents = tensors[f"out.latent{frames}"]
        assert relative_error(encode(vae, tensors[f"in.video{frames}"]), latents) <= 2e-5
        assert relative_error(decode(vae, latents), tensors[f"out.decoded{frames}"]) <= 2e-5


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_piece_by_piece_is_bit_for_bit_the_whole(frames: int) -> None:
    vae = small_vae()
    video = torch.rand(3, frames, 16, 24) * 2 - 1
    mean, std = (
        torch.tensor(values).view(16, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        posterior = vae.encode(video[None]).latent_dist.mode()[0]
        latents = encode(vae, video)
        assert torch.equal(latents, (posterior - mean) / std)
        whole = vae.decode((latents * std + mean)[None]).sample[0]
    pieces = list(decode_pieces(vae, latents))
    assert [piece.shape[1] for piece in pieces] == [1] + [4] * (frames // 4)
    assert torch.equal(torch.cat(pieces, dim=1), whole) and torch.equal(decode(vae, latents), whole)


def test_a_piece_is_made_when_it_is_asked_for() -> None:
    vae, made = small_vae(), []
    vae.decoder.register_forward_hook(lambda *_: made.append(1))
    pieces = decode_pieces(vae, torch.randn(16, 3, 2, 3))
    assert made == []
    assert not next(pieces).requires_grad and len(made) == 1
    assert torch.is_grad_enabled(), "only while a piece is made"
    assert len(list(pieces)) == 2 and len(made) == 3


def test_latents_are_normalised_and_video_is_clamped() -> None:
    vae = small_vae()
    video = torch.rand(3, 5, 16, 24) * 2 - 1
    latents = encode(vae, video)
    assert latents.shape == (16, 2, 2, 3)
    mean, std = (
        torch.tensor(values).view(16, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        raw = vae.encode(video[None]).latent_dist.mean[0]
    assert torch.allclose(latents * std + mean, raw, atol=1e-6)
    with torch.no_grad():
        vae.decoder.conv_out.bias += 3
    decoded = decode(vae, latents)
    assert decoded.shape == video.shape and decoded.max() == 1 and decoded.dtype == torch.float32


def test_fast_convolution_is_the_same_and_leaves_gradients_alone() -> None:
    plain, fast = small_vae(), use_fast_cpu_convolution(small_vae())
    video = torch.rand(3, 5, 16, 16) * 2 - 1
    latents = encode(plain, video)
    assert relative_error(encode(fast, video), latents) <= 5e-6
    assert relative_error(decode(fast, latents), decode(plain, latents)) <= 5e-6
    assert torch.equal(decode(fast, latents), decode(fast, latents))
    assert all(isinstance(module, WanCausalConv3d) for module in (fast.quant_conv, fast.decoder.conv_in))
    last, layouts = torch.channels_last_3d, list[bool]()
    fast.decoder.conv_out.register_forward_pre_hook(
        lambda _, given: layouts.append(given[0].is_contiguous(memory_format=last))
    )
    decode(fast, latents)
    assert layouts == [True, True], "a layer brought the channels back to the front"
    fast.decode(latents[None], return_dict=False)[0].sum().backward()
    assert fast.decoder.conv_in.weight.grad.abs().sum() > 0


def test_decoding_in_bf16_differs_by_less_than_a_level() -> None:
    """On a VAE that was trained; 50 dB are less than one of 255 levels."""
    facts = inspect_checkpoint(POCKET / "pocket_vae.safetensors")
    video = fit_picture(load_picture(EXAMPLE), 192, 192).expand(3, 9, 192, 192)
    vaes = [load_vae(facts, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    latents = encode(vaes[0], video)
    assert relative_error(encode(vaes[1], video), latents) < 2e-2
    exact, half = (decode(vae, latents) for vae in vaes)
    assert half.dtype == torch.float32
    assert 50 < -10 * float(((half - exact) / 2).square().mean().log10()) < 90
