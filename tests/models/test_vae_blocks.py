"""The VAE's blocks over rows: what diffusers' own compute, in fewer passes over memory."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResidualBlock
from torch import Tensor, nn

from tests.checkpoint.samples import golden, relative_error
from tests.test_work_counts import Counting
from wanvideo.checkpoint.keys import to_module
from wanvideo.errors import UserError
from wanvideo.models.vae import decode, encode
from wanvideo.models.vae_blocks import PAST, OnRows, rows_of, use_rows

CHANNELS, FRAMES, HEIGHT, WIDTH = 16, 4, 6, 10
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def small_vae(dtype: torch.dtype = torch.float32) -> AutoencoderKLWan:
    """Gains and biases differ from channel to channel, so that none can be left out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval().requires_grad_(False)
        for name, parameter in vae.named_parameters():
            if parameter.ndim == 1 or name.endswith("gamma"):
                parameter.data += 0.3 * torch.randn_like(parameter)
    for parameter in vae.parameters():
        parameter.data = parameter.data.to(dtype)
    return vae


def video_of(frames: int, height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    ("frames", "size", "tile"), [(1, (16, 24), 0), (5, (32, 16), 0), (17, (16, 24), 0), (9, (208, 216), 192)]
)
def test_the_same_as_diffusers(frames: int, size: tuple[int, int], tile: int) -> None:
    plain, rows = small_vae(), use_rows(small_vae())
    video = video_of(frames, *size)
    latents = encode(plain, video, tile)
    assert relative_error(encode(rows, video, tile), latents) <= 1e-5
    assert relative_error(decode(rows, latents, tile), decode(plain, latents, tile)) <= 1e-5
    assert torch.equal(decode(rows, latents, tile), decode(rows, latents, tile)), "nothing is left behind"


def test_goldens() -> None:
    tensors, _ = golden("wan_vae_io.safetensors")
    vae = AutoencoderKLWan(base_dim=8)
    vae.load_state_dict(to_module("vae", golden("wan_vae_weights.safetensors")[0]))
    use_rows(vae.eval().requires_grad_(False))
    for frames in (1, 9, 17):
        latents = tensors[f"out.latent{frames}"]
        assert relative_error(encode(vae, tensors[f"in.video{frames}"]), latents) <= 2e-5
        assert relative_error(decode(vae, latents), tensors[f"out.decoded{frames}"]) <= 2e-5


@pytest.mark.parametrize("dtype", HALVES)
def test_in_half_precision_as_near_to_fp32_as_diffusers(dtype: torch.dtype) -> None:
    exact, plain, rows = small_vae(), small_vae(dtype), use_rows(small_vae(dtype))
    video = video_of(9, 32, 48)
    latents = encode(exact, video)
    for work, given in ((encode, video), (decode, latents)):
        expected = work(exact, given)
        error, of_plain = ((work(vae, given) - expected).square().mean() for vae in (rows, plain))
        assert 0 < error <= of_plain


def test_several_videos_at_once_are_diffusers_own_way() -> None:
    plain, rows, videos = small_vae(), use_rows(small_vae()), torch.rand(2, 3, 5, 16, 16)
    moments = plain.encode(videos).latent_dist.mode()
    assert relative_error(rows.encode(videos).latent_dist.mode(), moments) <= 1e-5
    assert relative_error(rows.decode(moments).sample, plain.decode(moments).sample) <= 1e-5


def test_weights_are_the_same_with_their_channels_last() -> None:
    plain, rows = small_vae(), use_rows(small_vae())
    assert plain.state_dict().keys() == rows.state_dict().keys()
    assert all(torch.equal(rows.state_dict()[name], value) for name, value in plain.state_dict().items())
    blocks = [module for module in rows.modules() if isinstance(module, WanResidualBlock)]
    assert blocks and all(isinstance(block, OnRows) for block in blocks)
    layouts = {nn.Conv2d: torch.channels_last, WanCausalConv3d: torch.channels_last_3d}
    for kind, layout in layouts.items():
        found = [module.weight for module in rows.modules() if isinstance(module, kind)]
        assert found and all(weight.is_contiguous(memory_format=layout) for weight in found)


class Watching(Counting):
    """What the convolutions are given, too."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: list[tuple[int, ...]] = []  # shapes that have their channels in front

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in func.overloadpacket.__name__:
            layout = torch.channels_last_3d if args[0].ndim == 5 else torch.channels_last
            self.odd += [] if args[0].is_contiguous(memory_format=layout) else [tuple(args[0].shape)]
        return super().__torch_dispatch__(func, types, args, kwargs)


def test_no_layer_brings_the_channels_to_the_front() -> None:
    """But for the network's own input. In bf16, where convolutions on a CPU keep the layout, as on a card."""
    vae = use_rows(small_vae(torch.bfloat16))
    with Watching() as watching:
        latents = encode(vae, video_of(9))
        decode(vae, latents)
    assert watching.of("convolution") and all(shape[1] in (3, 16) for shape in watching.odd), watching.odd


@pytest.mark.parametrize("widens", [False, True], ids=["as wide", "wider"])
def test_work_of_a_residual_block(widens: bool) -> None:
    """Two norms, each with its silu, and a sum; no joining, no padding, no cast. What is copied: each norm
    into its room, two frames from the cache into each room and two out of it.
    """
    wide = 2 * CHANNELS if widens else CHANNELS
    block = use_rows(nn.ModuleList([WanResidualBlock(CHANNELS, wide)]).eval())[0]
    size = (HEIGHT, WIDTH)
    cache = [torch.randn(1, channels, PAST, *size) for channels in (CHANNELS, wide)]
    video = torch.randn(1, CHANNELS, FRAMES, *size).contiguous(memory_format=torch.channels_last_3d)
    with Counting() as counting:
        block(video, feat_cache=cache, feat_idx=[0])
    assert counting.of("convolution") == 2 + widens
    assert counting.of("cat", "pad", "_to_copy", "normalize", "norm") == 0
    ops = counting.ops
    assert (ops["silu"], ops["rsqrt"], ops["copy_"]) == (2, 2, 2 * 2)
    assert ops["add"] + ops["add_"] == 3 + 2  # two biases and the residual, and the norms' own
    # torch's own convolution of fp32 on a CPU gives its result with the channels in front
    turned = (ops["clone"] - 2) * wide * FRAMES
    assert ops["clone"] - 2 <= 2 + widens
    copied = (CHANNELS + wide) * (FRAMES + 2 * PAST) + turned
    assert counting.copied <= copied * HEIGHT * WIDTH


def test_two_frames_are_remembered_and_not_what_they_were_cut_from() -> None:
    block = use_rows(nn.ModuleList([WanResidualBlock(CHANNELS, CHANNELS)]).eval())[0]
    cache: list[Any] = [None, None]
    for frames in (1, FRAMES):
        block(torch.randn(1, CHANNELS, frames, HEIGHT, WIDTH), feat_cache=cache, feat_idx=[0])
        for kept in cache:
            assert kept.shape == (1, CHANNELS, PAST, HEIGHT, WIDTH)
            assert kept.untyped_storage().nbytes() == kept.nbytes
    assert cache[0][:, :, 0].abs().sum() > 0


def test_rows_are_the_memory_of_the_video_or_an_error() -> None:
    video = torch.randn(1, CHANNELS, FRAMES, HEIGHT, WIDTH)
    last = video.contiguous(memory_format=torch.channels_last_3d)
    rows = rows_of(last[:, :, 1:])
    assert rows.shape == ((FRAMES - 1) * HEIGHT * WIDTH, CHANNELS) and rows.is_contiguous()
    assert rows.untyped_storage().data_ptr() == last.untyped_storage().data_ptr()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        rows_of(last[..., 1:])


def test_a_picture_beyond_fp16_is_an_error_that_says_what_helps() -> None:
    vae = use_rows(small_vae(torch.float16))
    vae.encoder.conv_in.weight.mul_(2e5)
    with pytest.raises(UserError, match="can't encode this picture in fp16") as raised:
        encode(vae, video_of(1))
    assert "vae_precision to fp32" in raised.value.fix
