"""Sound and mouths: speech-like sound in batches, and the mouth that a waveform opens."""

import torch
from torch import Tensor

RATE = 16_000
FRAME = RATE // 25
_HOP = 160
_WINDOW = 512
# Formant centres in Hz of eight vowels: means of adult speakers as phonetics textbooks give them, rounded.
_VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (490, 1350, 1690),
    (660, 1720, 2410),
    (440, 1020, 2240),
)
_SILENCE_DB = -55.0
_RANGE_DB = 22.0


def mouth_track(waves: Tensor) -> Tensor:
    """waves (batch, frames * 640) mono at 16 kHz -> (batch, frames, 2): openness and width in [0, 1].

    A pure function of the waveform: openness is the level in dB of each 1/25 s below the clip's own loud
    level, so gain does not matter; width follows the spectral centroid (an "ee" is wide, an "oo" is narrow).
    A clip whose loud level lies under -55 dB of full scale is silence: all zeros.
    """
    blocks = waves.unflatten(-1, (-1, FRAME)).float()
    level = 20.0 * torch.log10(blocks.square().mean(-1).sqrt() + 1e-7)
    loudest = level.topk(max(1, level.shape[-1] // 10), dim=-1).values.mean(-1, keepdim=True)
    openness = ((level - loudest + _RANGE_DB) / _RANGE_DB).clamp(0.0, 1.0)
    openness = torch.where(loudest > _SILENCE_DB, openness, torch.zeros_like(openness))
    width = _width(blocks) * (openness > 0.0)
    return _smoothed(torch.stack([openness, width], dim=-1))


def _width(blocks: Tensor) -> Tensor:
    """Spectral centroid between 150 and 4000 Hz on a log scale: 500 Hz -> 0, 2200 Hz -> 1."""
    window = torch.hann_window(FRAME, device=blocks.device)
    power = torch.fft.rfft(blocks * window).abs()
    pitch = torch.fft.rfftfreq(FRAME, 1.0 / RATE, device=blocks.device)
    power = power * ((pitch > 150.0) & (pitch < 4000.0))
    centroid = (power * pitch).sum(-1) / power.sum(-1).clamp_min(1e-8)
    return (torch.log2(centroid.clamp_min(1.0) / 500.0) / torch.log2(torch.tensor(2200.0 / 500.0))).clamp(
        0.0, 1.0
    )


def _smoothed(track: Tensor) -> Tensor:
    """A [1 2 1] filter along frames with the ends repeated."""
    before = torch.cat([track[:, :1], track[:, :-1]], dim=1)
    after = torch.cat([track[:, 1:], track[:, -1:]], dim=1)
    return 0.25 * before + 0.5 * track + 0.25 * after


def synthetic_speech(count: int, samples: int, generator: torch.Generator) -> Tensor:
    """Babble of 3 to 6 syllables a second, with pauses -> (count, samples).

    Pulses and noise go through three formants that glide from vowel to vowel.

    The RMS level is 0.1.
    """
    device = generator.device
    steps = samples // _HOP + 1
    tract = 0.85 + 0.4 * _draw(generator, count, 1, 1)
    syllable, share = _syllables(count, steps, generator)
    voiced, hiss = _envelopes(syllable, share, count, generator)
    pitch = torch.linspace(0.0, RATE / 2.0, _WINDOW // 2 + 1, device=device)[None, :, None]
    formants = _formants(syllable, share, count, generator)
    gains = _resonances(pitch, formants, tract)
    noise = torch.randn(count, samples, generator=generator, device=device)
    pulses = _pulses(count, samples, generator) + 0.04 * noise
    high = torch.sigmoid((pitch - 2500.0) / 400.0)
    spectrum = _spectrum(pulses) * gains * voiced[:, None] + 0.12 * _spectrum(noise) * high * hiss[:, None]
    wave = torch.istft(spectrum, _WINDOW, _HOP, window=_hann(device), length=samples)
    return 0.1 * wave / wave.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-4)


def _draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _hann(device: torch.device) -> Tensor:
    return torch.hann_window(_WINDOW, device=device)


def _spectrum(wave: Tensor) -> Tensor:
    return torch.stft(wave, _WINDOW, _HOP, window=_hann(wave.device), return_complex=True)


def _syllables(count: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which syllable is spoken at each 10 ms step and how far it is: two (count, steps)."""
    rate = 3.0 + 3.0 * _draw(generator, count, 1)
    time = torch.arange(steps, device=generator.device) * (_HOP / RATE)
    sway = 0.25 * torch.sin(2.0 * torch.pi * (0.7 * time + _draw(generator, count, 1)))
    phase = rate * (time + 0.3 * sway) + 2.0 + _draw(generator, count, 1)
    return phase.floor().long(), phase - phase.floor()


def _envelopes(
    syllable: Tensor, share: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Loudness of voice and of hiss (the consonants) at each step."""
    slots = int(syllable.max()) + 2
    loud = 0.35 + 0.9 * _draw(generator, count, slots)
    pause = _draw(generator, count, slots) < 0.12 + 0.25 * _draw(generator, count, 1)
    hiss = (_draw(generator, count, slots) < 0.4) & ~pause
    strength = torch.where(pause, torch.zeros_like(loud), loud).gather(1, syllable)
    onset = 0.10 + 0.15 * _draw(generator, count, slots).gather(1, syllable)
    rise = torch.sin(torch.pi * ((share - 0.6 * onset) / (1.0 - 0.6 * onset)).clamp(0.0, 1.0)).clamp_min(0.0)
    burst = torch.sin(torch.pi * (share / onset).clamp(0.0, 1.0)).clamp_min(0.0)
    return strength * rise**0.8, strength * burst * hiss.gather(1, syllable)


def _formants(syllable: Tensor, share: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Formant centres (count, 3, steps) that glide to the next vowel in the last third of a syllable."""
    table = torch.tensor(_VOWELS, dtype=torch.float32, device=syllable.device)
    slots = int(syllable.max()) + 2
    vowel = torch.randint(len(_VOWELS), (count, slots), generator=generator, device=syllable.device)
    here, there = table[vowel.gather(1, syllable)], table[vowel.gather(1, syllable + 1)]
    return torch.lerp(here, there, ((share - 0.66) * 1.5).clamp(0.0, 0.5)[..., None]).transpose(1, 2)


def _resonances(pitch: Tensor, formants: Tensor, tract: Tensor) -> Tensor:
    """Gain of the vocal tract (count, bins, steps)."""
    centres = formants * tract
    gain = torch.zeros((), device=pitch.device)
    for number, (strength, breadth) in enumerate(((1.0, 90.0), (0.6, 120.0), (0.35, 180.0))):
        gain = gain + strength / (1.0 + ((pitch - centres[:, number : number + 1]) / breadth) ** 2)
    return gain


def _pulses(count: int, samples: int, generator: torch.Generator) -> Tensor:
    """A saw at a voice's pitch, with an intonation that wanders and falls."""
    time = torch.arange(samples, device=generator.device) / RATE
    base = 85.0 * torch.exp(1.25 * _draw(generator, count, 1))
    sway = 0.12 * torch.sin(
        2.0 * torch.pi * ((0.5 + _draw(generator, count, 1)) * time + _draw(generator, count, 1))
    )
    rate = base * (1.0 + sway - 0.04 * time.clamp_max(4.0))
    return 1.0 - 2.0 * torch.remainder(torch.cumsum(rate / RATE, dim=1), 1.0)
