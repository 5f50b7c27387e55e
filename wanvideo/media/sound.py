"""Sound as samples: the original for the file, 16 kHz mono for the model; loudness; several speakers."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from wanvideo.media.ffmpeg import FfmpegError, run_ffmpeg
from wanvideo.media.input_file import CONTAINER_OPTIONS, SOUNDS, refusal, unreadable
from wanvideo.media.probe import SoundFacts, is_soundfile, probe_sound

SPEECH_RATE = 16_000
LOUDNESS = -23.0  # LUFS, EBU R 128
LOUDNESS_TAIL = 10  # seconds of a sound that goes on
LOUDNESS_BLOCK = 0.4  # seconds: BS.1770 cannot measure less

Samples = npt.NDArray[np.float32]
SpeakerOrder = Literal["together", "sequence"]
Scalar = TypeVar("Scalar", bound=np.floating[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """`samples` (n, channels) float32, nominally in [-1, 1], at `rate` samples per second."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def load_sound(path: str | Path, seconds: float | None = None) -> Sound:
    """The sound of a file at its own rate, at most the first `seconds`. UserError for an unusable file.

    One or two channels come as they are; more are folded to two, which is what 192 kbit/s can carry.
    """
    path = Path(path)
    facts = probe_sound(path)
    from_soundfile = facts.channels <= 2 and is_soundfile(path)
    samples = _read(path, facts, seconds) if from_soundfile else _decode(path, facts, seconds)
    return Sound(samples=samples, rate=facts.rate)


def speech_samples(path: str | Path, seconds: float | None = None) -> Samples:
    """The sound of a file as (n,) float32 mono at 16 kHz, at most the first `seconds`: what the model hears.

    The mean of the channels, resampled by soxr "HQ": what `librosa.load(path, sr=16000)` returns.
    """
    path = Path(path)
    facts = probe_sound(path)
    samples = _read(path, facts, seconds) if is_soundfile(path) else _decode(path, facts, seconds)
    return resample(samples.mean(axis=1), facts.rate, SPEECH_RATE)


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """(n,) or (n, channels) at another rate: ceil(n * new_rate / rate) samples."""
    if rate == new_rate:
        return samples
    length = math.ceil(len(samples) * (new_rate / rate))
    resampled: Samples = soxr.resample(samples, rate, new_rate, quality="soxr_hq")
    return _place(resampled[:length], 0, length)


def normalise_loudness(samples: npt.NDArray[np.floating[Any]], rate: int) -> npt.NDArray[np.float64]:
    """Samples (n,) scaled to -23 LUFS by one gain, no limiter (InfiniteTalk's `loudness_norm`); float64.

    Silence and clips below 0.4 s, whose loudness is not defined, come back with their own level.
    """
    import pyloudnorm  # half a second of scipy, needed only where a model hears the sound

    exact = samples.astype(np.float64)
    if len(samples) < LOUDNESS_BLOCK * rate or not samples.any():
        return exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no block, when all lie below the gate
        loudness = float(pyloudnorm.Meter(rate).integrated_loudness(samples))
    return exact if abs(loudness) > 100 else 10.0 ** ((LOUDNESS - loudness) / 20.0) * exact


def arrange_speakers(
    tracks: Sequence[npt.NDArray[Scalar]], order: SpeakerOrder
) -> tuple[list[npt.NDArray[Scalar]], npt.NDArray[Scalar]]:
    """Tracks (n,) or (n, channels) laid out over one common time, and their sum (not clipped).

    "together": all start at once, shorter ones end in zeros. "sequence": each starts where the last one ends.
    """
    if order not in ("together", "sequence"):
        raise ValueError(f"unknown order of speakers {order!r}")
    lengths = [len(track) for track in tracks]
    starts = [0 if order == "together" else sum(lengths[:index]) for index in range(len(tracks))]
    total = max(start + length for start, length in zip(starts, lengths, strict=True))
    laid = [_place(track, start, total) for track, start in zip(tracks, starts, strict=True)]
    mixed: npt.NDArray[Scalar] = np.stack(laid).sum(axis=0)
    return laid, mixed


def mix_sounds(sounds: Sequence[Sound], order: SpeakerOrder) -> Sound:
    """The original sounds of the speakers as one, at the highest rate and channel count among them.

    Levels stay as recorded; only a sum that would clip is scaled down as a whole.
    """
    rate = max(sound.rate for sound in sounds)
    channels = max(sound.samples.shape[1] for sound in sounds)
    tracks = [_widen(resample(sound.samples, sound.rate, rate), channels) for sound in sounds]
    mixed = arrange_speakers(tracks, order)[1]
    peak = float(np.abs(mixed).max(initial=0.0))
    return Sound(samples=mixed / np.float32(peak) if peak > 1 else mixed, rate=rate)


def recorded_sound(paths: Sequence[str], order: SpeakerOrder, start: float, seconds: float) -> Sound:
    """The original sounds of the speakers as one, from `start` seconds on and at most `seconds` long; one
    sample of silence where they end before. Raises UserError for an unusable file.
    """
    mixed = mix_sounds([load_sound(path, start + seconds) for path in paths], order)
    begin = round(start * mixed.rate)
    samples = mixed.samples[begin : begin + round(seconds * mixed.rate)]
    return Sound(samples=samples if len(samples) else np.zeros_like(mixed.samples[:1]), rate=mixed.rate)


def follow_sound(old: Sound | None, seconds: float, new: Sound | None) -> Sound | None:
    """`new` after the first `seconds`, which `old` fills; silence where either is missing or short. None
    without both. At the highest rate and channel count of the two.
    """
    sounds = [sound for sound in (old, new) if sound is not None]
    if not sounds:
        return None
    rate = max(sound.rate for sound in sounds)
    channels = max(sound.samples.shape[1] for sound in sounds)
    laid = [_widen(resample(sound.samples, sound.rate, rate), channels) for sound in sounds]
    start = round(seconds * rate)
    end = start + (len(laid[-1]) if new is not None else 0)
    samples = np.zeros((end, channels), np.float32)
    if old is not None:
        kept = laid[0][:start]
        samples[: len(kept)] = kept
    if new is not None:
        samples[start:] = laid[-1]
    return Sound(samples=samples, rate=rate)


def last_speech(path: str | Path, count: int, end: float) -> Samples:
    """(count,) float32 at 16 kHz: what the model heard last, before `end` seconds of a file with sound.

    At the loudness of the last ten seconds; silence where the sound is shorter.
    """
    heard = speech_samples(path, end)[: round(end * SPEECH_RATE)]
    missing = round(end * SPEECH_RATE) - len(heard)
    last = np.pad(heard, (0, max(0, missing)))[-LOUDNESS_TAIL * SPEECH_RATE :]
    level = normalise_loudness(last, SPEECH_RATE).astype(np.float32)[-count:]
    return np.pad(level, (count - len(level), 0))


def _read(path: Path, facts: SoundFacts, seconds: float | None) -> Samples:
    frames = -1 if seconds is None else int(round(seconds * facts.rate))
    try:
        samples: Samples = soundfile.read(str(path), frames=frames, dtype="float32", always_2d=True)[0]
    except soundfile.LibsndfileError as error:
        raise unreadable(path, "sound", SOUNDS) from error
    return _checked(path, samples)


def _decode(path: Path, facts: SoundFacts, seconds: float | None) -> Samples:
    channels = min(facts.channels, 2)
    options = [text for name, value in CONTAINER_OPTIONS.items() for text in (f"-{name}", value)]
    limit = [] if seconds is None else ["-t", f"{seconds:.6f}"]
    output = ["-f", "f32le", "-ar", str(facts.rate), "-ac", str(channels), "pipe:1"]
    try:
        raw = run_ffmpeg([*options, "-i", f"file:{path.absolute()}", *limit, "-vn", "-map", "0:a:0", *output])
    except FfmpegError as error:
        raise unreadable(path, "sound", SOUNDS) from error
    return _checked(path, np.frombuffer(raw, np.float32).reshape(-1, channels))


def _checked(path: Path, samples: Samples) -> Samples:
    if not len(samples):
        raise refusal(path, "sound", "it has no samples", SOUNDS)
    if not np.isfinite(samples).all():
        raise refusal(path, "sound", "it holds samples that are not numbers (NaN or infinite)", SOUNDS)
    return samples


def _place(track: npt.NDArray[Scalar], start: int, total: int) -> npt.NDArray[Scalar]:
    laid = np.zeros((total, *track.shape[1:]), track.dtype)
    laid[start : start + len(track)] = track
    return laid


def _widen(samples: Samples, channels: int) -> Samples:
    return np.repeat(samples, channels, axis=1) if samples.shape[1] < channels else samples
