"""MelBand RoFormer against the published package; separation of long, short, mono and silent sounds."""

import gzip
import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny_separator import low_pass_model, wave_model, write_separator
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_vocal_separator
from wanvideo.errors import UserError
from wanvideo.media.sound import Sound, resample
from wanvideo.models import vocal_separator
from wanvideo.models.mel_band_roformer import (
    COMPUTED,
    FFT,
    SAMPLE_RATE,
    MelBandRoformer,
    SeparatorConfig,
    band_bins,
)
from wanvideo.models.vocal_separator import separate_vocals, vocals_as_speech

DATA = Path(__file__).parents[1] / "data" / "mel_band_roformer.json.gz"
PIECE = SAMPLE_RATE // 2
STEP, FADE = PIECE // 2, PIECE // 10


def published() -> dict[str, Any]:
    """Names and shapes of the published vocal model, and what the package gives for `wave_model`."""
    read: dict[str, Any] = json.loads(gzip.decompress(DATA.read_bytes()))
    return read


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second instead of eight."""
    for name, length in (("PIECE", PIECE), ("STEP", STEP), ("FADE", FADE)):
        monkeypatch.setattr(vocal_separator, name, length)


def ignore(_done: int, _total: int) -> None:
    pass


def tones(seconds: float, *hertz: float, rate: int = SAMPLE_RATE) -> Tensor:
    """(2, n): sines of amplitude 0.2, added; the channels differ in level."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    sound = sum(0.2 * torch.sin(2 * torch.pi * tone * time) for tone in hertz)
    return torch.stack([torch.as_tensor(sound), 0.5 * torch.as_tensor(sound)]).float()


def test_tensors_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        model = MelBandRoformer(SeparatorConfig())
    shapes = published()["shapes"]
    assert len(shapes) == 684
    own = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == {name: shape for name, shape in shapes.items() if not name.endswith(COMPUTED)}


def test_output_is_that_of_the_published_package() -> None:
    time = torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    left = 0.3 * torch.sin(900 * time * (1 + time))
    right = 0.2 * torch.sin(5000 * time) + 0.1 * torch.sin(40000 * time)
    with torch.no_grad():
        vocals = wave_model()(torch.stack([left, right]).float())
    torch.testing.assert_close(vocals[:, ::441], torch.tensor(published()["output"]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("bands", [20, 60, 64])
def test_bands_are_those_of_librosa(bands: int) -> None:
    triangles = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT, n_mels=bands)
    triangles[0, 0] = triangles[-1, -1] = 1
    assert [list(bins) for bins in band_bins(bands)] == [list(np.nonzero(row)[0]) for row in triangles]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_becomes_the_model_in_fp32(tmp_path: Path, dtype: torch.dtype) -> None:
    model = wave_model()
    facts = inspect_checkpoint(write_separator(tmp_path / "separator.safetensors", model, dtype))
    loaded = load_vocal_separator(facts)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name].to(dtype).float(), rtol=0, atol=0)


def test_a_file_of_more_stems_is_refused(tmp_path: Path) -> None:
    path = write_separator(tmp_path / "separator.safetensors", wave_model())
    state = load_file(path)
    second = {
        n.replace("estimators.0", "estimators.1"): t.clone() for n, t in state.items() if "estimators" in n
    }
    save_file(state | second, path)
    with pytest.raises(UserError, match="has unexpected mask_estimators.1"):
        load_vocal_separator(inspect_checkpoint(path))


def test_up_to_one_piece_is_heard_as_a_whole() -> None:
    model, mixed = wave_model(), tones(0.5, 300, 700)
    with torch.no_grad():
        assert torch.equal(separate_vocals(model, mixed, ignore), model(mixed))


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.501, 0.8, 1.28])
def test_pieces_join_without_a_seam(seconds: float) -> None:
    """Where the mask is the same in each piece, pieces and whole are the same; length is kept."""
    mixed = tones(seconds, 300, 6000)
    passing = separate_vocals(low_pass_model(hertz=1e9), mixed, ignore)
    assert passing.shape == mixed.shape
    torch.testing.assert_close(passing, mixed, rtol=0, atol=1e-5)


def test_each_moment_is_heard_from_its_own_place() -> None:
    """Where two pieces overlap the result is their mean by the fades."""
    model, mixed = wave_model(), tones(1.25, 300, 700)
    mixed[:, PIECE:] *= 0.1
    vocals = separate_vocals(model, mixed, ignore)
    with torch.no_grad():
        first, second = model(mixed[:, :PIECE]), model(mixed[:, STEP : STEP + PIECE])
    at = PIECE - FADE // 2  # the first piece fades out, the second is in its middle
    kept = torch.linspace(1, 0, FADE)[at - (PIECE - FADE)]
    expected = (first[:, at] * kept + second[:, at - STEP]) / (kept + 1)
    torch.testing.assert_close(vocals[:, at], expected, rtol=0, atol=1e-6)
    assert not torch.allclose(first[:, at], second[:, at - STEP], rtol=0, atol=1e-4)


def test_progress_counts_pieces_and_can_stop() -> None:
    seen: list[tuple[int, int]] = []

    def stop_at_second(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separate_vocals(low_pass_model(), tones(1.05, 300), stop_at_second)
    assert seen == [(1, 6), (2, 6)]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_speech_is_the_voice_alone(rate: int, channels: int) -> None:
    both = tones(0.4003, 300, 3000, rate=rate).T.numpy()[:, :channels]
    voice = tones(0.4003, 300, rate=rate).T.numpy()[:, :channels]
    heard = vocals_as_speech(low_pass_model(), Sound(samples=both, rate=rate), ignore)
    expected = resample(voice.mean(axis=1), rate, 16_000)
    assert heard.shape == expected.shape and heard.dtype == np.float32
    middle = slice(1600, -1600)
    assert np.abs(heard - expected)[middle].max() < 2e-3
    mixed = resample(both.mean(axis=1), rate, 16_000)
    assert np.abs(mixed - expected)[middle].max() > 0.1


@pytest.mark.parametrize("seconds", [0.2, 0.7])
def test_silence_stays_silent(seconds: float) -> None:
    silence = Sound(samples=np.zeros((round(seconds * 16_000), 1), np.float32), rate=16_000)
    heard = vocals_as_speech(wave_model(), silence, ignore)
    assert heard.shape == (len(silence.samples),) and not heard.any()


def test_a_model_without_numbers_is_told() -> None:
    model = wave_model()
    model.band_split.to_features[0][1].bias.fill_(float("nan"))  # type: ignore[index,union-attr,operator]
    with pytest.raises(UserError, match="no numbers"):
        separate_vocals(model, tones(0.3, 300), ignore)
