"""What people are promised that they can set: a field each, on the page or as a start flag, under the names
that other programs use too.
"""

import gradio as gr
import pytest

from tests.ui.test_fields import CPU
from ui.fields import HIDDEN, TABLE
from ui.page import place_parts
from ui.parts import Page
from wanvideo.jobs.store import JobStore
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS

ASKED = (
    "task", "model", "prompt", "negative_prompt", "image", "end_image", "video", "audio", "audio_order",
    "speaker_boxes", "width", "height", "num_frames", "seconds", "fps", "num_inference_steps",
    "guidance_scale", "audio_guidance_scale", "apg", "flow_shift", "sampler", "seed", "count",
    "denoise_strength", "start_step", "end_step", "window_frames", "motion_frames", "color_correction",
    "separate_vocals", "riflex_freq_index", "loras",
)  # fmt: skip
RUN = (
    "base_precision", "quantization", "requantize", "attention", "per_block_mean", "strict", "load_device",
    "vae_tiling", "vae_precision", "force_offload", "use_tf32", "use_cublas_gemm", "force_contiguous_tensors",
    "fuse_qkv_projections", "rms_norm_function", "compile", "step_cache", "step_cache_threshold", "gpus",
    "output_dir", "models_dir", "blocks_to_swap", "vram_threshold_percent", "auto_hardware_tuning",
    "num_cuda_streams", "prefetch_blocks", "bandwidth_target", "enable_cuda_optimization",
    "enable_dram_optimization", "offload_txt_emb", "offload_img_emb", "vace_blocks_to_swap", "debug_mode",
)  # fmt: skip
OTHER_NAMES = ("steps", "cfg", "shift", "scheduler")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    with gr.Blocks():
        return place_parts(JobStore(tmp_path_factory.mktemp("queue") / "queue.sqlite"), {}, CPU)


@pytest.mark.parametrize("name", [*ASKED, *RUN])
def test_each_is_a_field_on_the_page_or_a_start_flag(page: Page, name: str) -> None:
    assert name in (REQUEST_FIELDS if name in ASKED else OPTION_FIELDS)
    assert (name in page.form.widgets) != (name in HIDDEN)


def test_no_field_is_there_that_was_not_promised() -> None:
    assert set(TABLE) == {*ASKED, *RUN, "extends", "extends_from", "audio_start"}


def test_the_names_of_other_programs_are_known() -> None:
    assert set(OTHER_NAMES) <= {alias for row in TABLE.values() for alias in row.aliases}
