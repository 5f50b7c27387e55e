"""Bytes of each model, against the real modules at pocket size and the published counts."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from tests.memory.cases import GIB, card, models, planned, published
from wanvideo.checkpoint import load
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory_plan import VAE_DECODE
from wanvideo.prepare import POCKET
from wanvideo.registry import quantization_modes

MODES = quantization_modes()
AS_STORED = next(row for row in MODES.values() if row.store is None)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def bytes_of(parameters: Iterable[torch.nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", ["text_to_video", "talk"])
def test_sizes_are_those_of_the_loaded_modules(dtype: str, task: str) -> None:
    files = resolve_models(task, None, [POCKET], 1)
    sizes = model_sizes(files, AS_STORED, False, dtype)
    model = load.load_transformer(files.transformer, files.audio, dtype=DTYPES[dtype], mode=AS_STORED)
    blocks = [bytes_of(block.parameters()) for block in model.blocks]
    embedder = model.condition_embedder
    assert sizes.block == pytest.approx(blocks[0], rel=0.005)
    assert sizes.outside == pytest.approx(bytes_of(model.parameters()) - sum(blocks), rel=0.005)
    assert sizes.text_embedding == bytes_of(embedder.text_embedder.parameters())
    if task == "talk":
        assert sizes.image_embedding == bytes_of(embedder.image_embedder.parameters())
        encoder = load.load_image_encoder(files.image_encoder, dtype=DTYPES[dtype])
        assert sizes.image_encoder == bytes_of(encoder.parameters())
    text = load.load_text_encoder(files.text_encoder, dtype=DTYPES[dtype])
    assert sizes.text_encoder == bytes_of(text.parameters())
    assert sizes.ffn_dim == model.config.ffn_dim
    assert sizes.vae == bytes_of(load.load_vae(files.vae).parameters())


# Numbers of one block in millions: 14B text, picture, picture and speech.
BLOCKS = {"text_to_video": 351, "image_to_video": 404, "talk": 464}


@pytest.mark.parametrize("task", BLOCKS)
def test_blocks_of_the_14b_models(task: str) -> None:
    sizes = model_sizes(models(task), AS_STORED, False, "bf16")
    assert sizes.blocks == 40
    assert sizes.block / 2e6 == pytest.approx(BLOCKS[task], rel=0.005)
    assert sizes.ffn_dim == 13824


def test_a_whole_infinitetalk_file_is_as_large_as_its_parts() -> None:
    parts = models("talk")
    joined = replace(parts, transformer=published("infinitetalk_full"), audio=None)
    whole = model_sizes(joined, AS_STORED, False, "bf16")
    apart = model_sizes(parts, AS_STORED, False, "bf16")
    assert whole.block == pytest.approx(apart.block, rel=0.002)
    assert whole.outside == pytest.approx(apart.outside, rel=0.02)


def test_weights_of_the_measured_forward() -> None:
    """26.6 GiB in bf16; a peak on an H200 was measured with them."""
    sizes = model_sizes(models("text_to_video"), AS_STORED, False, "bf16")
    assert sizes.transformer / GIB == pytest.approx(26.6, rel=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_quantized_linears_shrink_by_their_bytes(mode: str) -> None:
    row = MODES[mode]
    dense = model_sizes(models("text_to_video"), AS_STORED, False, "bf16")
    sizes = model_sizes(models("text_to_video"), row, False, "bf16")
    assert sizes.block / dense.block == pytest.approx(row.bytes_per_weight / 2, abs=0.01)
    assert sizes.dequantizes == (row.store is not None and (row.fallback is None or row.bytes_per_weight < 1))
    assert (sizes.dense_weight > 0) == sizes.dequantizes


def test_text_encoder_and_clip() -> None:
    half, wide = (model_sizes(models("talk"), AS_STORED, False, dtype) for dtype in ("bf16", "fp16"))
    assert half.text_layers == 24
    assert half.text_encoder / GIB == pytest.approx(10.6, rel=0.02)
    assert half.text_table / 2 == pytest.approx(256_384 * 4096, rel=0.01)
    assert wide.text_layer - half.text_layer == 2 * 4096 * 10240  # the output of the feed-forward in fp32
    assert half.image_encoder / 2e6 == pytest.approx(632, rel=0.01)
    assert half.vae_width == 1


@pytest.mark.parametrize("narrow", ["bf16", "fp16"])
def test_a_vae_in_half_precision_takes_half(narrow: str) -> None:
    full, half = (model_sizes(models("talk"), AS_STORED, False, "bf16", dtype) for dtype in ("fp32", narrow))
    assert half.vae == full.vae / 2
    made = [planned("talk", card(80), {"vae_precision": dtype}) for dtype in ("fp32", narrow)]
    sizes = [one.forecast.working[VAE_DECODE] for one in made]
    assert 0.5 < sizes[1] / sizes[0] < 0.7  # the frames that it gives stay in fp32
    seconds = [one.forecast.stages["decode"].seconds for one in made]
    assert seconds[1] < 0.9 * seconds[0]
    assert len({one.kind for one in made}) == 2
