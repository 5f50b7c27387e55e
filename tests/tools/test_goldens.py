"""tools/goldens.py: on the project's goldens, on those beside it, and on two-speaker runs made here."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.tools.reference_talk import Weights, forward, loop
from tools import goldens
from tools.golden_files import golden as golden_module
from wanvideo.checkpoint.keys import to_official
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer
from wanvideo.models.vae import decode, encode

PROJECT = Path(__file__).resolve().parents[2]
LAYERS, CHANNELS, IMAGE_DIM, TEXT_DIM = 12, 6, 48, 24
LOOP: dict[str, Any] = {
    "persons": 2,
    "audio_len": 14,
    "steps": 2,
    "shift": 3.0,
    "text_scale": 3.0,
    "audio_scale": 2.0,
    "motion_frame": 5,
    "frame_num": 9,
    "max_frames_num": 1000,
    "source": "image (frame 0)",
    "bbox": None,
    "color_correction": 0.0,
    "apg": False,
    "apg_norm_threshold": 5.0,
    "teacache": False,
    "seed": 42,
    "weights": ["infinitetalk_weights_base", "infinitetalk_weights_audio", "wan_vae_weights"],
}
RUNS: dict[str, dict[str, Any]] = {
    "loop_multi_bbox": {"bbox": {"person1": [5, 4, 60, 45], "person2": [12, 55, 66, 98]}},
    "loop_multi_apg_color_max": {"apg": True, "color_correction": 0.7, "max_frames_num": 12, "audio_len": 20},
    "loop_multi_2pass": {"text_scale": 1.0, "audio_len": 13},
    "loop_single_video": {
        "persons": 1,
        "source": "video (7 frames)",
        "color_correction": 1.0,
        "audio_len": 17,
    },
    "loop_single_clip_apg": {"persons": 1, "max_frames_num": 9, "apg": True, "text_scale": 1.0},
}


def randomise(module: nn.Module) -> None:
    """No zero head and no unit norm, of a size that keeps activations near 1."""
    generator = torch.Generator().manual_seed(11)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1 and "table" not in name and "gamma" not in name:
            parameter.data = noise / parameter[0].numel() ** 0.5
        else:
            is_gain = name.endswith((".weight", "gamma"))
            parameter.data = noise * 0.1 + (1.0 if is_gain else 0.0)


def write(path: Path, tensors: Weights, info: object = None) -> None:
    save_file(
        {name: tensor.clone().contiguous() for name, tensor in tensors.items()},
        path,
        {"info": json.dumps(info)},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of goldens computed by the plain reference."""
    folder = tmp_path_factory.mktemp("goldens")
    weights = _write_models(folder)
    vae = AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1)
    randomise(vae)
    write(folder / "wan_vae_weights.safetensors", to_official("vae", vae.state_dict()))
    generator = torch.Generator().manual_seed(5)
    given = {
        "audio1": torch.randn(22, LAYERS, CHANNELS, generator=generator),
        "audio2": torch.randn(22, LAYERS, CHANNELS, generator=generator),
        "context": torch.randn(7, TEXT_DIM, generator=generator),
        "context_null": torch.randn(11, TEXT_DIM, generator=generator),
        "frames_u8": torch.randint(0, 256, (7, 70, 100, 3), generator=generator, dtype=torch.uint8),
    }
    write(folder / "loop_inputs.safetensors", given)
    with torch.no_grad():
        _write_forward(folder, weights, given)
        for name, settings in RUNS.items():
            info = LOOP | settings
            run = loop(
                info, given, weights, lambda video: encode(vae, video), lambda latents: decode(vae, latents)
            )
            write(folder / f"{name}.safetensors", run, info)
    write(folder / "loop_single_teacache.safetensors", {"video": torch.zeros(1)}, LOOP | {"teacache": True})
    return folder


def _write_models(folder: Path) -> Weights:
    audio = AudioConfig(channels=CHANNELS, intermediate_dim=8, output_dim=16, context_tokens=4)
    transformer = WanTransformer(
        num_layers=2,
        audio=audio,
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=36,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=256,
        ffn_dim=64,
        image_dim=IMAGE_DIM,
        added_kv_proj_dim=256,
    )
    randomise(transformer)
    weights = to_official("transformer", transformer.state_dict())
    is_audio = ("audio_proj", "audio_cross_attn", "norm_x")
    spoken = {name for name in weights if any(part in name for part in is_audio)}
    stem = folder / "infinitetalk_weights_audio.safetensors"
    write(stem, {name: weights[name] for name in spoken})
    write(
        stem.with_stem("infinitetalk_weights_base"), {name: weights[name] for name in weights.keys() - spoken}
    )
    return weights


def _write_forward(folder: Path, weights: Weights, given: Weights) -> None:
    generator = torch.Generator().manual_seed(6)
    masks = torch.zeros(3, 8, 12)
    masks[0, 1:7, 1:5], masks[1, 1:7, 7:11] = 1, 1
    masks[2] = 1 - masks[:2].amax(0)
    audio = torch.randn(2, 9, 5, LAYERS, CHANNELS, generator=generator)
    x, y = (torch.randn(channels, 3, 8, 12, generator=generator) for channels in (16, 20))
    clip = torch.randn(1, 257, IMAGE_DIM, generator=generator)
    tensors = {
        "in.x": x,
        "in.y": y[None],
        "in.clip_fea": clip,
        "in.context": given["context"],
        "in.audio": audio,
    }
    tensors["in.ref_target_masks"] = masks
    for index, timestep in enumerate((999.0, 637.25)):
        t, seen = torch.tensor([timestep]), {}
        tensors |= {f"in.t{index}": t}
        tensors[f"out{index}"] = forward(weights, x, t, given["context"], clip, y, audio, masks, seen)
    tensors |= {f"inter1.{name}": tensor for name, tensor in seen.items()}
    for name, other in (("swapped_audio", audio.flip(0)), ("null_audio", torch.zeros_like(audio[-1:]))):
        tensors[f"out1_{name}"] = forward(weights, x, t, given["context"], clip, y, other, masks)
    info = {"weights": ["infinitetalk_weights_base", "infinitetalk_weights_audio"]}
    write(folder / "infinitetalk_multi_io.safetensors", tensors, info)


def table(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = goldens.main([str(folder)])
    return code, capsys.readouterr().out


def test_goldens_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = table(PROJECT / "tests/data/goldens", capsys)
    assert code == 0, printed


def test_goldens_beside_the_project() -> None:
    folder = PROJECT.parent / "shared/goldens"
    if not folder.is_dir():
        pytest.skip("there is no ../shared beside the project")
    done = subprocess.run(
        [sys.executable, "tools/goldens.py", str(folder)], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stem in done.stdout for path in folder.glob("*.safetensors"))


def test_two_speakers_boxes_video_colour_and_apg(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = table(made, capsys)
    assert code == 0, printed
    for name in (*RUNS, "infinitetalk_multi_io"):
        assert name in printed
    for tensor in (
        "x_ref_attn_map",
        "rope1d_pos_q",
        "rope1d_pos_k",
        "out1_swapped_audio",
        "w1.ref_target_masks",
    ):
        assert tensor in printed
    assert "no TeaCache yet" in printed


def swapped(first: str, second: str) -> Callable[[Weights, dict[str, Any]], None]:
    def change(tensors: Weights, _info: dict[str, Any]) -> None:
        tensors[first], tensors[second] = tensors[second], tensors[first]

    return change


def turned_boxes(_tensors: Weights, info: dict[str, Any]) -> None:
    info["bbox"] = {name: [box[1], box[0], box[3], box[2]] for name, box in info["bbox"].items()}


def without_apg(_tensors: Weights, info: dict[str, Any]) -> None:
    info["apg"] = False


def another_shift(_tensors: Weights, info: dict[str, Any]) -> None:
    info["shift"] = 3.001


def another_strength(_tensors: Weights, info: dict[str, Any]) -> None:
    info["color_correction"] += 0.01


def a_pixel(tensors: Weights, _info: dict[str, Any]) -> None:
    tensors["video"][0, -1, 0, 0] += 2e-4


def no_source(_tensors: Weights, info: dict[str, Any]) -> None:
    info["source"] = "image (frame 0)"


PLANTED: list[tuple[str, Callable[[Weights, dict[str, Any]], None], str]] = [
    ("loop_multi_bbox", turned_boxes, "ref_target_masks"),
    ("loop_multi_bbox", a_pixel, "video"),
    ("loop_multi_apg_color_max", without_apg, "final_latent"),
    ("loop_multi_apg_color_max", another_strength, "video"),
    ("loop_multi_2pass", another_shift, "s*.t"),
    ("loop_single_video", no_source, "w1.y"),
    ("infinitetalk_multi_io", swapped("out1", "out1_swapped_audio"), "out1"),
    ("infinitetalk_multi_io", swapped("in.t0", "in.t1"), "out0"),
]


@pytest.mark.parametrize(("name", "change", "missed"), PLANTED)
def test_planted_errors_are_found(
    name: str,
    change: Callable[[Weights, dict[str, Any]], None],
    missed: str,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(golden_module, "ELSEWHERE", (made,))
    source = golden_module.Golden(made / f"{name}.safetensors")
    tensors, info = dict(load_file(source.path)), dict(source.info)
    change(tensors, info)
    write(tmp_path / f"{name}.safetensors", tensors, info)
    code, printed = table(tmp_path, capsys)
    assert code == 1
    assert any(missed in line and line.endswith("MISS") for line in printed.splitlines()), printed


def test_unknown_or_incomplete_files_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden_module, "ELSEWHERE", ())
    empty: dict[str, Tensor] = {"x": torch.zeros(1)}
    write(tmp_path / "something_else.safetensors", empty)
    write(tmp_path / "wan_t2v_io.safetensors", empty, {})
    write(tmp_path / "audio_proj.safetensors", empty, {"intermediate_dim": 8})
    code, printed = table(tmp_path, capsys)
    assert code == 1
    for sentence in ("unknown kind of file", "needs wan_t2v_weights", "in.audio_windows"):
        assert sentence in printed
    assert goldens.main([str(tmp_path / "..")]) == 1, "a folder without goldens has proved nothing"
