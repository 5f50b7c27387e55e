"""LoRAs from the request to the finished file: names, plan, lending, metadata."""

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoint.lora_files import STYLES, bytes_of, make_changes, spelled, write_lora
from tests.plan_cases import CPU, GPU, POCKET, REAL, SPEECH, SPOKEN, TEXT, plan
from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.lora import LoraFacts, LoraUse
from wanvideo.checkpoint.lora_files import find_lora, lora_names
from wanvideo.checkpoint.lora_recipes import FEWEST_STEPS, Recipe, recipe_of
from wanvideo.checkpoint.state import read_file
from wanvideo.cli import main
from wanvideo.errors import Cancelled, UserError
from wanvideo.finished_file import job_folder
from wanvideo.lending import JobModels
from wanvideo.media.frames import read_frames
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, read_options, read_request

STYLE = "style/warm"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_models(tmp_path_factory.mktemp("models") / "tiny")
    official = read_file(folder / "tiny_t2v.safetensors")
    write_lora(folder / f"loras/{STYLE}.safetensors", spelled(make_changes(official, 1), STYLES["comfy"]))
    write_lora(folder / "loras/cold.safetensors", spelled(make_changes(official, 2), STYLES["kohya"]))
    shutil.copy(folder / "loras/cold.safetensors", folder / "loras/style/cold.safetensors")
    return folder


def use(name: str, strength: float | tuple[float, ...] = 1.0, **facts: Any) -> LoraUse:
    empty: dict[str, Any] = {"branches": {}, "products": {}, "differences": {}}
    made = LoraFacts(name=name, path=Path(name), stamp=(0, 0), **{**empty, **facts})
    return LoraUse(facts=made, strength=strength)


def planned(models: Path, output: Path, *loras: Any, **asked: Any) -> GenerationPlan:
    base = {"task": "text_to_video", "model": "tiny_t2v", "prompt": "a ball", "seed": 1, "num_frames": 5}
    request = read_request({**base, "loras": list(loras), **asked})
    return prepare(request, read_options({"models_dir": str(models)}), output)[0]


def pixels(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(str(path), 16.0)))


def test_files_are_found_by_name_and_by_path(models: Path, tmp_path: Path) -> None:
    names = lora_names([models])
    assert list(names) == ["cold", "style/cold", STYLE]
    assert lora_names([models / "loras"]) == names
    warm = models / "loras/style/warm.safetensors"
    for wanted in (STYLE, "style\\warm", "warm", "warm.safetensors", f"{STYLE}.safetensors", str(warm)):
        assert find_lora(wanted, [tmp_path, models]) == warm
    assert find_lora("cold", [models]) == models / "loras/cold.safetensors"
    with pytest.raises(UserError, match=r"several LoRAs have this name.*allowed: cold, style/cold"):
        find_lora("cold.safetensors", [models])
    with pytest.raises(UserError, match=r"unknown LoRA, got 'wram'; allowed: style/warm"):
        find_lora("wram", [models])
    with pytest.raises(UserError, match="none is installed"):
        find_lora("warm", [tmp_path])


def test_a_lora_changes_the_video_and_leaves_no_trace(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, videos = ModelCache(), {}
    warm, cold = {"file": STYLE, "strength": 2}, {"file": "cold", "strength": [2, 0]}
    jobs = {"none": [], "warm": [warm], "both": [warm, cold], "warm again": [warm], "none again": []}
    for name, loras in jobs.items():
        with caplog.at_level(logging.INFO):
            caplog.clear()
            made = generate(planned(models, tmp_path / f"{name}.mp4", *loras), cache)
        videos[name] = pixels(made.output)
        assert any("[LOAD] Loading model" in message for message in caplog.messages) == (name == "none")
        loaded = sum("[LOAD] LoRA" in message for message in caplog.messages)
        assert loaded == (name in ("warm", "both"))  # each file is read once
    assert not np.array_equal(videos["none"], videos["warm"])
    assert not np.array_equal(videos["warm"], videos["both"])
    assert np.array_equal(videos["warm"], videos["warm again"])
    assert np.array_equal(videos["none"], videos["none again"])


def test_each_step_has_its_strength(models: Path, tmp_path: Path) -> None:
    cache, videos = ModelCache(), {}
    for strength in ("2", "2,2", "2,0", "0,2", "0"):
        made = generate(planned(models, tmp_path / f"{strength}.mp4", f"{STYLE}:{strength}", steps=2), cache)
        videos[strength] = pixels(made.output)
    assert np.array_equal(videos.pop("2,2"), videos["2"])
    assert len({video.tobytes() for video in videos.values()}) == len(videos)


def test_a_stopped_job_leaves_the_model_known(models: Path, tmp_path: Path) -> None:
    cache = ModelCache()
    bare = planned(models, tmp_path / "a.mp4")
    first = pixels(generate(bare, cache).output)

    def stop(event: ProgressEvent) -> None:
        if event.step:
            raise Cancelled

    worn = planned(models, tmp_path / "b.mp4", f"{STYLE}:3,1", steps=4)
    with pytest.raises(Cancelled):
        generate(worn, cache, stop)
    assert np.array_equal(pixels(generate(planned(models, tmp_path / "c.mp4"), cache).output), first)


def test_the_lent_model_wears_what_its_job_wants(models: Path, tmp_path: Path) -> None:
    cache, states = ModelCache(), []
    jobs = (((), []), (("cold",), [1]), (("cold:0.5", STYLE), [0.5, 1]), ((), []))
    for loras, strengths in jobs:
        job = planned(models, tmp_path / "a.mp4", *loras)
        lender = JobModels(
            files=job.models, cache=cache, device="cpu", dtype=torch.float32, quantization="fp8_e5m2"
        )
        with lender.transformer() as model:
            branches = model.blocks[0].attn1.to_q.branches
            assert len(branches) == len(strengths)
            assert [float(branch.strength) for branch in branches] == pytest.approx(strengths)
            states.append(bytes_of(model))
    assert states[0] == states[-1] != states[1]


def test_what_a_file_says_of_its_loras(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["generate", "--task", "text_to_video", "--prompt", "a ball", "--json", "--output", "a.mp4"]
    flags += ["--models-dir", str(models), "--model", "tiny_t2v", "--set", "num_frames=5"]
    flags += ["--lora", f"{models / 'loras/cold.safetensors'}:0.5", "--lora", f"{STYLE}:1,0"]
    assert main(flags) == 0, capfd.readouterr().err
    effective = json.loads(capfd.readouterr().out.splitlines()[-1])["effective"]
    assert effective["loras"] == [["cold", "0.5"], ["warm", "1, 0"]]
    text = read_metadata(tmp_path / "a.mp4")["comment"]
    told = json.loads(text)
    assert str(models) not in text
    assert told["request"]["loras"] == [
        {"file": "cold.safetensors", "strength": 0.5},
        {"file": "warm", "strength": [1.0, 0.0]},
    ]
    assert [name for name, _ in told["models"]["lora"]] == ["cold.safetensors", "warm.safetensors"]
    assert main([*flags, "--lora", "wram"]) == 2
    assert "unknown LoRA, got 'wram'; allowed: style/warm" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32", "lightx2v"),
        ("lightx2v_I2V_14B_480p_cfg_step_distill_rank128_bf16", "lightx2v"),
        ("wan2.1_i2v_480p_scaled_fp8_e4m3_lightx2v_4step_comfyui", "lightx2v"),
        ("Wan2.1_I2V_14B_FusionX_LoRA", "FusionX"),
        ("Wan21_CausVid_14B_T2V_lora_rank32", "CausVid"),
        ("Wan2_1-T2V-14B_rCM_lora", "rCM"),
        ("wan2.1_i2v_480p_14B_fp16", None),
        ("my_arcmania_style", None),
    ],
)
def test_step_distilled_files_are_known_by_name(name: str, title: str | None) -> None:
    found = recipe_of(name, {})
    assert (found.title if found else None) == title
    told = recipe_of("renamed", {"ss_output_name": name, "ss_tag_frequency": "causvid"})
    assert (told.title if told else None) == title


def test_a_recipe_is_proposed_and_not_applied() -> None:
    fast = replace(REAL, loras=(use("speed", recipe=Recipe(title="lightx2v")),))
    made = plan(SPEECH, SPOKEN, fast)
    assert made.settings.num_inference_steps == 40 and set(made.settings.guidance_scale) == {5.0}
    (note,) = (note for note in made.notes if "step-distilled" in note)
    for flag in ("--steps 4", "--guidance 1", "--audio-guidance 1", "--sampler lcm or euler", "--shift 5"):
        assert flag in note
    recipe = {"steps": 4, "cfg": 1, "audio_cfg": 1, "sampler": "euler", "shift": 5}
    assert not any("step-distilled" in note for note in plan({**SPEECH, **recipe}, SPOKEN, fast).notes)
    model = replace(REAL, recipe=Recipe(title="FusionX", steps=8))
    assert any("--steps 8" in note for note in plan(TEXT, models=model).notes)
    assert "audio" not in " ".join(plan(TEXT, models=model).notes)


@pytest.mark.parametrize(
    ("models", "steps", "warns"), [(REAL, 9, True), (REAL, 10, False), (POCKET, 8, False)]
)
def test_few_steps_need_a_distilled_file(models: Any, steps: int, warns: bool) -> None:
    notes = " ".join(plan({**SPEECH, "steps": steps}, SPOKEN, models).notes)
    assert (f"{steps} steps are few" in notes) == warns and FEWEST_STEPS == 10
    fast = replace(models, loras=(use("speed", recipe=Recipe(title="lightx2v")),))
    assert "are few" not in " ".join(plan({**SPEECH, "steps": steps}, SPOKEN, fast).notes)


def test_a_plan_tells_what_is_left_out_and_refuses_what_can_not_be() -> None:
    odd = replace(REAL, loras=(use("odd", (0.0,), homeless=("a", "b", "c", "d")),))
    notes = " ".join(plan(TEXT, models=odd).notes)
    assert (
        "LoRA odd: 4 of its tensors have no place in this model and are left out: a, b, c and 1 more" in notes
    )
    assert "LoRA odd has no effect at strength 0" in notes
    whole = replace(REAL, loras=(use("whole", differences={"blocks.0.ffn.net.2.weight": "x"}),))
    assert plan(TEXT, models=whole, machine=CPU).quantization == "disabled"
    with pytest.raises(UserError, match="LoRA whole changes the whole weight of blocks.0.ffn.net.2"):
        plan(TEXT, models=whole, machine=GPU, options={"quantization": "fp8_e4m3fn"})


def test_another_file_of_the_name_is_another_job(models: Path, tmp_path: Path) -> None:
    """Windows that were made with other weights are not taken up."""
    path = tmp_path / "x.safetensors"
    folders = []
    for seed in (1, 2):
        official = read_file(models / "tiny_t2v.safetensors")
        write_lora(path, spelled(make_changes(official, seed, only="blocks.1"), STYLES["bare"]))
        os.utime(path, (seed, seed))
        folders.append(job_folder(planned(models, tmp_path / "a.mp4", str(path))).path)
    folders.append(job_folder(planned(models, tmp_path / "a.mp4", f"{path}:0.5")).path)
    assert len(set(folders)) == 3
