"""Human speech to measure with: never trained on and never shipped.

The recordings come with Debian's package pocketsphinx-testdata. Its copyright file puts the package under
BSD-2 (Carnegie Mellon University, Alpha Cephei Inc.); the LibriVox recordings among them are in the public
domain by LibriVox's own policy.
"""

from pathlib import Path

import numpy
import soundfile
import torch
from numpy.typing import NDArray

from tools.pocket.sound import FRAME, RATE, mouth_track

DEFAULT = Path("/usr/share/pocketsphinx/test/data")
PACKAGE = "pocketsphinx-testdata"
_PATTERNS = ("cards/*.wav", "librivox/*.wav", "*.raw", "tidigits/*.raw")
# Share of the frames in an excerpt that must hold speech.
_SPEECH_SHARE = 0.6


def human_recordings(folder: Path = DEFAULT) -> list[tuple[str, NDArray[numpy.float32]]]:
    """Names and waves, mono at 16 kHz in [-1, 1]: single words, digits and sentences of a few speakers.

    Raises FileNotFoundError, with the package's name, if there are none, and ValueError for another rate.
    """
    files = sorted(file for pattern in _PATTERNS for file in folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no recordings in {folder}: install the Debian package {PACKAGE}")
    return [(file.relative_to(folder).as_posix(), _read(file)) for file in files]


def human_excerpts(count: int, samples: int, seed: int, folder: Path = DEFAULT) -> NDArray[numpy.float32]:
    """Random stretches that hold speech, taken from one recording after another -> (count, samples).

    Recordings that are shorter than `samples`, or are silent for most of every stretch, are left out. Raises
    ValueError if none is left.
    """
    random = numpy.random.default_rng(seed)
    sources = [(wave, _starts(wave, samples)) for _, wave in human_recordings(folder)]
    sources = [(wave, starts) for wave, starts in sources if len(starts)]
    if not sources:
        raise ValueError(f"no recording holds {samples / RATE:.1f} s of speech")
    order = random.permutation(len(sources))
    excerpts = []
    for number in range(count):
        wave, starts = sources[order[number % len(order)]]
        start = int(random.choice(starts))
        excerpts.append(wave[start : start + samples])
    return numpy.stack(excerpts)


def _read(file: Path) -> NDArray[numpy.float32]:
    if file.suffix == ".raw":
        # Headerless: 16 bits, little endian, 16 kHz, mono.
        return (numpy.fromfile(file, "<i2") / 32768.0).astype(numpy.float32)
    wave, rate = soundfile.read(file, dtype="float32")
    if rate != RATE or wave.ndim != 1:
        raise ValueError(f"{file.name} is not mono at {RATE} Hz")
    loaded: NDArray[numpy.float32] = wave
    return loaded


def _starts(wave: NDArray[numpy.float32], samples: int) -> NDArray[numpy.int64]:
    """Where an excerpt may start, in steps of a frame: where speech fills enough of it."""
    whole = len(wave) // FRAME * FRAME
    frames = -(-samples // FRAME)
    if len(wave) < samples or whole < frames * FRAME:
        return numpy.empty(0, numpy.int64)
    spoken = mouth_track(torch.from_numpy(wave[:whole])[None])[0, :, 0].numpy() > 0.0
    share = numpy.convolve(spoken, numpy.full(frames, 1.0 / frames), mode="valid")
    return numpy.flatnonzero(share >= _SPEECH_SHARE) * FRAME
