"""From the request to the file with whole sets of models in one family of formats each.

What the VAE decodes is compared, not the finished file: x264 makes a level or two of a last bit.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from tests.checkpoint.synthetic.compare import error
from tests.checkpoint.synthetic.model_sets import FAMILIES, write_dense, write_family
from tests.checkpoint.synthetic.modules import original
from wanvideo import pipeline
from wanvideo.media.probe import probe_video
from wanvideo.model_cache import ModelCache
from wanvideo.prepare import prepare
from wanvideo.request import RuntimeOptions, read_request

LIMIT = 2e-5  # of the largest value: two steps and a decoder in fp32
MOVED = 1e-3  # what unrounded weights change at least, so that LIMIT tells the formats apart


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    picture = np.linspace(0, 255, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    sound = np.sin(np.arange(16000 // 2) / 16000 * 1500) * 0.3
    soundfile.write(folder / "speech.wav", sound, 16000)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Tensor]:
    """What the VAE gives, piece by piece."""
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "cache"))
    kept: list[Tensor] = []
    decode = pipeline.decode_pieces

    def spy(*given: Any) -> Iterator[Tensor]:
        for piece in decode(*given):
            kept.append(piece.clone())
            yield piece

    monkeypatch.setattr(pipeline, "decode_pieces", spy)
    return kept


def video_of(task: str, models: Path, inputs: Path, decoded: list[Tensor]) -> Tensor:
    """All windows that were decoded for a job of that task, in one tensor."""
    wanted: dict[str, Any] = {"task": task, "prompt": "a cat speaks", "seed": 3}
    if task != "text_to_video":
        wanted["image"] = str(inputs / "picture.png")
    if task == "talk":
        wanted["audio"] = [str(inputs / "speech.wav")]
    options = RuntimeOptions(models_dir=str(models), output_dir=str(models / "out"), base_precision="fp32")
    plan = replace(prepare(read_request(wanted), options)[0], output=models / "out/a.mp4")
    assert models in plan.models.transformer.path.parents, plan.notes
    decoded.clear()
    result = pipeline.generate(plan, ModelCache())
    assert probe_video(result.output).frames == plan.total_frames
    return torch.cat([window.flatten() for window in decoded])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_set_gives_the_video_of_its_exact_values(
    name: str, inputs: Path, decoded: list[Tensor], tmp_path: Path
) -> None:
    task, parts = FAMILIES[name].task, write_family(FAMILIES[name], tmp_path / "set")
    write_dense(parts, tmp_path / "dense")
    found, wanted = (video_of(task, tmp_path / models, inputs, decoded) for models in ("set", "dense"))
    assert error(found, wanted) <= LIMIT


def test_the_limit_is_far_below_the_finest_rounding(
    inputs: Path, decoded: list[Tensor], tmp_path: Path
) -> None:
    """Of all families, bf16 moves the video least."""
    parts = write_family(FAMILIES["official"], tmp_path / "set")
    names = {"transformer": "i2v"}
    unrounded = {component: original(names.get(component, component)) for component in parts}
    write_dense(unrounded, tmp_path / "unrounded")
    found, other = (
        video_of("image_to_video", tmp_path / models, inputs, decoded) for models in ("set", "unrounded")
    )
    assert error(found, other) >= MOVED
