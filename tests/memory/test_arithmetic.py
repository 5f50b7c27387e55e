"""Activations and operations against what was measured and counted."""

from dataclasses import replace

import pytest

from tests.memory.cases import GIB, job
from wanvideo.memory.activations import decode_bytes, encode_bytes, transformer_bytes
from wanvideo.memory.constants import CHUNKS
from wanvideo.memory.flops import block_flops, forward_flops
from wanvideo.memory.stages import denoise_bytes, stage_bytes
from wanvideo.memory_plan import MemoryPlan
from wanvideo.registry import attention_backends

WHOLE = MemoryPlan()


def test_peak_of_the_measured_forward() -> None:
    """14B in bf16 at 32,760 tokens, unchunked: 30.6 GiB in all, 27.05 of them weights."""
    made = job()
    assert made.work.tokens == 32_760
    assert transformer_bytes(made, WHOLE) / GIB == pytest.approx(3.5, rel=0.1)
    assert denoise_bytes(made, WHOLE) / GIB == pytest.approx(30.6, rel=0.02)


def test_decoder_of_the_measured_picture() -> None:
    """Untiled in fp32 at 832x480: 9.5 GiB reserved, 0.7 of them for a video joined on the card."""
    made = job()
    assert (made.sizes.vae + decode_bytes(made, 0)) / GIB == pytest.approx(8.8, rel=0.05)
    assert encode_bytes(made, 0) < decode_bytes(made, 0)
    assert decode_bytes(made, 272) < 0.3 * decode_bytes(made, 0)


@pytest.mark.parametrize(
    ("task", "size", "tflop"),
    [("text_to_video", "480p", 1678), ("text_to_video", "720p", 6523), ("talk", "square", 1895)],
)
def test_operations_of_a_forward(task: str, size: str, tflop: float) -> None:
    assert forward_flops(job(task, size)) / 1e12 == pytest.approx(tflop, rel=0.001)


def test_operations_of_the_14b_model_by_kind() -> None:
    flops = block_flops(job())
    assert 40 * flops.linears / 1e12 == pytest.approx(783, rel=0.005)
    assert 40 * flops.self_attention / 1e12 == pytest.approx(879, rel=0.001)


@pytest.mark.parametrize("size", ["480p", "720p", "1080p"])
@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled", "fp8_e4m3fn_fast", "fp4_scaled"])
def test_smaller_chunks_never_take_more(size: str, mode: str) -> None:
    made = job(size=size, mode=mode)
    needs = [transformer_bytes(made, MemoryPlan(chunk_tokens=chunk)) for chunk in (0, *CHUNKS, 2048)]
    assert needs == sorted(needs, reverse=True)
    assert needs[-1] < 0.8 * needs[0]


def test_each_pass_that_goes_along_keeps_its_tokens() -> None:
    made = job(passes=3)
    state = made.work.tokens * 5120 * 2
    alone, along = (
        transformer_bytes(made, MemoryPlan(passes_together=together)) for together in (False, True)
    )
    assert along - alone == 2 * state


def test_foreign_kernels_and_two_speakers_take_more() -> None:
    made = job("talk", "square")
    foreign = next(
        row for row in attention_backends().values() if row.fallback is not None and not row.has_block_mean
    )
    chunked = MemoryPlan(chunk_tokens=4096)
    plain = transformer_bytes(made, chunked)
    assert transformer_bytes(replace(made, backend=foreign), chunked) > plain
    two = replace(made, work=replace(made.work, speakers=2))
    assert transformer_bytes(two, chunked) > plain


def test_the_correction_of_4_bit_attention_is_counted_where_it_is_made() -> None:
    """7.2 GB in fp32 at 75,600 tokens of 14B."""
    row = next(row for row in attention_backends().values() if row.has_block_mean)
    chunked = MemoryPlan(chunk_tokens=4096)
    off, on = (
        transformer_bytes(replace(job(size="720p"), backend=row, per_block_mean=asked), chunked)
        for asked in ("auto", "on")
    )
    assert on - off == pytest.approx(7.2e9, rel=0.05)


def test_leaving_weights_and_stepping_aside_lower_their_stages() -> None:
    made = job("talk", "square")
    before = stage_bytes(made, WHOLE)
    leaving = stage_bytes(made, MemoryPlan(text_embedding_leaves=True, image_embedding_leaves=True))
    gone = made.sizes.text_embedding + made.sizes.image_embedding
    assert gone > 0 and before["denoise"] - leaving["denoise"] == gone
    aside = stage_bytes(made, MemoryPlan(steps_aside=True))
    assert before["decode"] - aside["decode"] == made.sizes.transformer
    assert before["condition"] - aside["condition"] == made.sizes.transformer
    assert aside["denoise"] == before["denoise"]


def test_the_feed_forward_makes_the_peak_where_it_is_wide() -> None:
    """Two hidden states at once: twice the width is four times the tokens' width more."""
    made, chunked = job(), MemoryPlan()
    wide = replace(made, sizes=replace(made.sizes, ffn_dim=20 * 5120))
    wider = replace(made, sizes=replace(made.sizes, ffn_dim=21 * 5120))
    more = transformer_bytes(wider, chunked) - transformer_bytes(wide, chunked)
    assert more == 2 * made.work.tokens * 5120 * 2


def test_a_dequantized_weight_is_counted() -> None:
    fp8, nvfp4 = (job(mode=mode) for mode in ("fp8_e4m3fn_scaled", "fp4_scaled"))
    one = 13824 * 5120 * 2
    assert transformer_bytes(nvfp4, WHOLE) - transformer_bytes(fp8, WHOLE) == one
    assert transformer_bytes(fp8, WHOLE) - transformer_bytes(job(), WHOLE) == one
