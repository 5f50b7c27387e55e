from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from tests.media.media_files import GOLDENS, tone, write_sound
from wanvideo.media.probe import probe_sound
from wanvideo.media.sound import (
    Sound,
    arrange_speakers,
    load_sound,
    mix_sounds,
    normalise_loudness,
    resample,
    speech_samples,
)

FORMATS = ["wav", "mp3", "flac", "ogg", "m4a", "mp4", "mkv", "aac"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read(tmp_path: Path, suffix: str, channels: int) -> None:
    path = write_sound(tmp_path / f"voice.{suffix}", channels=channels)
    facts, sound, speech = probe_sound(path), load_sound(path), speech_samples(path)
    assert (facts.rate, facts.channels) == (22_050, channels) == (sound.rate, sound.samples.shape[1])
    assert sound.samples.dtype == speech.dtype == np.float32
    assert facts.seconds == pytest.approx(0.5, abs=0.1)  # a bare aac stream also tells its priming
    assert sound.seconds == pytest.approx(0.5, abs=0.1)
    assert len(speech) == pytest.approx(16_000 * sound.seconds, abs=1)
    assert np.sqrt((sound.samples[2000:9000] ** 2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1), (48_000, 6)])
def test_speech_equals_librosa(tmp_path: Path, rate: int, channels: int) -> None:
    path = write_sound(tmp_path / "voice.wav", 0.6, rate, channels)
    expected, _ = librosa.load(path, sr=16_000)
    assert np.array_equal(speech_samples(path), expected)


def test_wav_samples_are_exact_and_can_be_limited(tmp_path: Path) -> None:
    for subtype in ("FLOAT", "PCM_24"):
        soundfile.write(str(tmp_path / "voice.wav"), tone(1.0, channels=2), 22_050, subtype=subtype)
        assert load_sound(tmp_path / "voice.wav").samples == pytest.approx(tone(1.0, channels=2), abs=2**-23)
    assert len(load_sound(tmp_path / "voice.wav", seconds=0.25).samples) == round(22_050 * 0.25)
    write_sound(tmp_path / "voice.m4a", 1.0)
    assert len(speech_samples(tmp_path / "voice.m4a", seconds=0.2)) == 3200


def test_more_than_two_channels_become_two(tmp_path: Path) -> None:
    assert load_sound(write_sound(tmp_path / "cinema.wav", channels=6)).samples.shape == (11_025, 2)


def test_loudness_equals_the_reference() -> None:
    path = GOLDENS / "audio_pipeline.safetensors"
    if not path.is_file():
        pytest.skip("the reference tensors are not here")
    golden = load_file(path)
    for name in ("wave1", "wave2"):
        assert np.array_equal(normalise_loudness(golden[name], 16_000), golden[f"{name}_norm"])
    waves = [golden["wave1_norm"], golden["wave2_norm"]]
    laid, mixed = arrange_speakers(waves, "sequence")
    for ours, reference in zip([*laid, mixed], ["s1", "s2", "sum"], strict=True):
        assert np.array_equal(ours, golden[f"multi_add.{reference}"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "samples", [np.zeros(16_000), tone(0.39, 16_000)[:, 0], np.full(16_000, 1e-8), np.zeros(0)], ids=len
)
def test_what_has_no_loudness_is_unchanged(samples: np.ndarray) -> None:
    result = normalise_loudness(samples, 16_000)
    assert result.dtype == np.float64 and np.array_equal(result, samples)


def test_arrange_speakers_for_mono_and_for_channels() -> None:
    for shape in ((), (2,)):
        first, second = np.ones((3, *shape), np.float32), np.full((2, *shape), 2, np.float32)
        together, mixed = arrange_speakers([first, second], "together")
        assert [track.shape for track in together] == [(3, *shape)] * 2
        assert mixed.reshape(3, -1)[:, 0].tolist() == [3, 3, 1]
        sequence, mixed = arrange_speakers([first, second], "sequence")
        assert [track.reshape(5, -1)[:, 0].tolist() for track in sequence] == [
            [1, 1, 1, 0, 0],
            [0, 0, 0, 2, 2],
        ]
        assert mixed.dtype == np.float32 and mixed.shape == (5, *shape)
    with pytest.raises(ValueError, match="order"):
        arrange_speakers([first], "backwards")  # type: ignore[arg-type]


def test_mix_sounds_joins_rates_and_channels_and_scales_only_what_clips() -> None:
    low, high = (
        Sound(samples=tone(0.5, 16_000), rate=16_000),
        Sound(samples=tone(0.25, 48_000, 2), rate=48_000),
    )
    mixed = mix_sounds([low, high], "sequence")
    assert mixed.rate == 48_000 and mixed.samples.shape == (36_000, 2)
    assert mixed.samples[24_000:] == pytest.approx(high.samples)
    loud = Sound(samples=np.full((10, 1), 0.8, np.float32), rate=8_000)
    assert mix_sounds([loud], "together").samples == pytest.approx(loud.samples)
    assert np.abs(mix_sounds([loud, loud], "together").samples).max() == 1.0


def test_resample_keeps_the_tone() -> None:
    assert resample(tone(0.5, 48_000), 48_000, 16_000)[200:-200] == pytest.approx(
        tone(0.5, 16_000)[200:-200], abs=1e-3
    )
