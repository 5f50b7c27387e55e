"""Talk with separated vocals: what the encoder hears, what the file holds, what is said without a model."""

import logging
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.tiny_models import write_tiny_models
from tests.tiny_separator import low_pass_model, write_separator
from wanvideo import speech_inputs
from wanvideo.errors import UserError
from wanvideo.media.sound import load_sound
from wanvideo.model_cache import ModelCache
from wanvideo.models import vocal_separator
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, RuntimeOptions, read_request

TALK: dict[str, Any] = {"task": "talk", "guidance_scale": 1, "audio_guidance_scale": 1, "seed": 3}
VOICE, MUSIC = 300, 5000  # hertz


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_tiny_models(folder / "models")
    write_separator(folder / "models" / "voices" / "separator.safetensors", low_pass_model())
    Image.new("RGB", (64, 64), "gray").save(folder / "picture.png")
    time = np.arange(int(44_100 * 0.6)) / 44_100
    both = 0.2 * np.sin(2 * np.pi * VOICE * time) + 0.2 * np.sin(2 * np.pi * MUSIC * time)
    soundfile.write(folder / "speech.wav", np.stack([both, both], axis=1), 44_100)
    return folder


def plan_of(home: Path, separator: bool, strict: bool = False, **request: Any) -> GenerationPlan:
    """`separator`: the models folder has the separation model; without one the pocket model is found."""
    models = home / ("models" if separator else "nothing")
    options = RuntimeOptions(models_dir=str(models), output_dir=str(home / "out"), strict=strict)
    files = {"image": str(home / "picture.png"), "audio": [str(home / "speech.wav")]}
    return prepare(read_request({**TALK, **files, **request}), options)[0]


def levels(samples: np.ndarray[Any, Any], rate: int) -> tuple[float, float]:
    """How loud voice and music are: amplitudes of the spectrum there."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    bins = [round(hertz * len(samples) / rate) for hertz in (VOICE, MUSIC)]
    return tuple(float(spectrum[place - 5 : place + 6].max()) for place in bins)  # type: ignore[return-value]


@pytest.mark.parametrize("separates", [True, False])
def test_the_encoder_hears_the_voice_and_the_file_keeps_the_mix(
    home: Path, separates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[torch.Tensor] = []
    encode = speech_inputs.encode_speech

    def listening(model: Any, samples: torch.Tensor, frames: int) -> torch.Tensor:
        heard.append(samples)
        return encode(model, samples, frames)

    monkeypatch.setattr(speech_inputs, "encode_speech", listening)
    monkeypatch.setattr(vocal_separator, "PIECE", 44_100)
    plan = plan_of(home, separator=True, separate_vocals=separates, num_frames=5)
    result = generate(replace(plan, output=home / "out" / f"{separates}.mp4"), ModelCache())
    voice, music = levels(heard[0].numpy()[:7_000], 16_000)
    assert (music < voice * 0.01) is separates
    sound = load_sound(result.output)
    voice, music = levels(sound.samples[:, 0], sound.rate)
    assert sound.samples.shape[1] == 2 and music > voice * 0.3
    assert plan.effective()["separate_vocals"] is separates


def test_it_is_loaded_once_and_gone_before_the_windows(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lent: list[weakref.ref[Any]] = []

    def separate(model: Any, *rest: Any) -> Any:
        lent.append(weakref.ref(model))
        return vocal_separator.vocals_as_speech(model, *rest)

    def watch(event: ProgressEvent) -> None:
        if event.stage == "denoise":
            assert lent and all(model() is None for model in lent)

    monkeypatch.setattr(speech_inputs, "vocals_as_speech", separate)
    monkeypatch.setattr(vocal_separator, "PIECE", 44_100)
    speech = [str(home / "speech.wav")] * 2
    plan = plan_of(home, separator=True, separate_vocals=True, audio=speech)
    assert len(plan.windows) > 1
    with caplog.at_level(logging.INFO, "wanvideo.model_cache"):
        generate(plan, ModelCache(), watch)
    assert len(lent) == 2
    assert caplog.text.count("Loading vocal separator") == 1


def test_a_missing_file_is_said_and_the_sound_is_heard_as_it_is(home: Path) -> None:
    plan = plan_of(home, separator=False, separate_vocals=True)
    assert not plan.separates_vocals and plan.effective()["separate_vocals"] is False
    said = [note for note in plan.notes if "vocals" in note]
    assert len(said) == 1
    assert "MelBandRoformer_fp16.safetensors" in said[0] and "models download melband" in said[0]
    with pytest.raises(UserError, match="models download melband"):
        plan_of(home, separator=False, strict=True, separate_vocals=True)


@pytest.mark.parametrize(
    "request_",
    [{}, {"separate_vocals": True, "audio": []}, {"separate_vocals": True, "task": "image_to_video"}],
)
def test_without_need_the_file_is_no_part_of_the_job(home: Path, request_: dict[str, Any]) -> None:
    plan = plan_of(home, separator=True, strict=True, **request_)
    assert plan.models.vocal_separator is None and not plan.separates_vocals
    assert any("separate_vocals has no effect" in note for note in plan.notes) is bool(request_)
    wanted = plan_of(home, separator=True, separate_vocals=True)
    assert wanted.models.vocal_separator in wanted.models.checkpoints
    assert not any("vocals" in note for note in wanted.notes)
