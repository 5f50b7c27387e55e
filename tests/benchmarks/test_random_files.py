"""Files of random weights: names and shapes of the published ones, and tiny sets that make videos."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measuring import device
from benchmarks.random_files import DENSE, _official_shapes, random_values, write_files
from benchmarks.random_model import OTHER_GAIN, TINY, build
from benchmarks.random_sizes import PUBLISHED_FILES, TALK_ENCODERS
from tests.checkpoint.samples import manifests
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.keys import ignored_reason
from wanvideo.checkpoint.load import load_transformer
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.prepare import PROJECT, prepare
from wanvideo.registry import quantization_modes
from wanvideo.request import RuntimeOptions, read_request

MODES = quantization_modes()
SCALED = "fp8_e4m3fn_scaled"
PUBLISHED_AS = {
    "t2v_14b": "wan2_1_t2v_14b",
    "i2v_14b": "wan2_1_i2v_14b_480p",
    "t2v_1_3b": "wan2_1_t2v_1_3b",
    "infinitetalk": "infinitetalk_single_audio",
    "text_encoder": "umt5_xxl_encoder",
    "image_encoder": "clip_xlm_roberta_vit_h_14_visual",
    "vae": "wan2_1_vae",
    "speech_encoder": "wav2vec2_base",
}


@pytest.mark.parametrize("name", PUBLISHED_FILES)
def test_names_and_shapes_are_those_of_the_published_file(name: str) -> None:
    file = PUBLISHED_FILES[name]
    ours = {key: list(shape) for key, shape in _official_shapes(file).items()}
    published = manifests()[PUBLISHED_AS[name]]
    assert ours == {key: shape for key, shape in published.items() if not ignored_reason(file.component, key)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("random")
    write_files(["t2v_14b", "i2v_14b", "infinitetalk", *TALK_ENCODERS], place, SCALED, quick=True)
    return place


REQUESTS: dict[str, dict[str, Any]] = {
    "talk": {
        "image": str(PROJECT / "examples/girl.png"),
        "audio": [str(PROJECT / "examples/hello.wav")],
        "window_frames": 5,
        "motion_frames": 1,
    },
    "image_to_video": {"image": str(PROJECT / "examples/girl.png")},
    "text_to_video": {},
}


@pytest.mark.parametrize("task", REQUESTS)
def test_a_set_makes_a_video(task: str, folder: Path, tmp_path: Path) -> None:
    request = read_request(
        {"task": task, "prompt": "a cat", "width": 64, "height": 64, "num_frames": 5, "steps": 2, "seed": 1}
        | REQUESTS[task]
    )
    options = RuntimeOptions(models_dir=str(folder), output_dir=str(tmp_path), quantization=SCALED)
    (plan,) = prepare(request, options)
    assert all(facts.path.parent == folder for facts in plan.models.checkpoints)
    assert plan.models.transformer.stored.weights == "e4m3"
    frames = list(read_frames(str(generate(plan, ModelCache()).output), plan.settings.fps))
    assert len(frames) == 5 and frames[0].std() > 1


@pytest.mark.parametrize("mode", [DENSE, SCALED, "fp4_scaled"])
def test_weights_are_those_of_the_random_model(mode: str, tmp_path: Path) -> None:
    path = write_files(["t2v_14b"], tmp_path, mode, quick=True)["t2v_14b"]
    loaded = load_transformer(inspect_checkpoint(path), mode=MODES[mode], device=device()).state_dict()
    wanted = build(TINY, MODES[mode])[0].state_dict()
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(_bytes(loaded[name]), _bytes(wanted[name])) for name in wanted)


def test_a_file_that_is_there_is_kept(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix == ".safetensors"}
    paths = write_files(["t2v_14b", *TALK_ENCODERS], folder, SCALED, quick=True)
    assert set(paths.values()) < before.keys()
    assert all(path.stat().st_mtime_ns == since for path, since in before.items())


def test_values_keep_the_size_of_what_they_multiply() -> None:
    rows = torch.randn(64, 4096)
    weight = random_values("blocks.0.attn.q.weight", torch.Size((512, 4096)), torch.float32).cpu()
    assert float((rows @ weight.T).std()) == pytest.approx(OTHER_GAIN, rel=0.05)
    for gain in ("decoder.head.0.gamma", "blocks.0.norm1.weight", "encoder.pos_conv_embed.conv.weight_g"):
        assert bool((random_values(gain, torch.Size((4, 1)), torch.float32) == 1).all())


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
