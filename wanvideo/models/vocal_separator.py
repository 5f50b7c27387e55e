"""The voice in a sound, piece by piece, so that memory does not grow with the length of the sound.

Pieces, overlap and fades are those of Kimberley Jensen's inference code for the published vocal model.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wanvideo.errors import UserError
from wanvideo.media.sound import SPEECH_RATE, Samples, Sound, resample
from wanvideo.models.mel_band_roformer import CHANNELS, SAMPLE_RATE, MelBandRoformer

PIECE = 8 * SAMPLE_RATE  # what the model was trained on
STEP = PIECE // 2
FADE = PIECE // 10

Progress = Callable[[int, int], None]


def vocals_as_speech(model: MelBandRoformer, sound: Sound, progress: Progress) -> Samples:
    """The voice of `sound` as `speech_samples` gives a whole sound: (n,) mono at 16 kHz, of the same length.

    `progress` gets the pieces that are done and their number, and may raise to stop. Raises UserError if the
    model gives no numbers.
    """
    mixed = torch.from_numpy(resample(sound.samples, sound.rate, SAMPLE_RATE).T.copy())
    vocals = separate_vocals(model, mixed.expand(CHANNELS, -1), progress)
    mono = resample(vocals.mean(0).numpy(), SAMPLE_RATE, SPEECH_RATE)
    length = -(-len(sound.samples) * SPEECH_RATE // sound.rate)
    return np.pad(mono[:length], (0, max(0, length - len(mono))))


@torch.no_grad()
def separate_vocals(model: MelBandRoformer, mixed: Tensor, progress: Progress) -> Tensor:
    """(2, n) fp32 at 44.1 kHz on the CPU -> the voice in it, of the same shape there.

    Up to 8 s the model hears the sound as a whole; a longer one in pieces of 8 s every 4 s, with a faded mean
    where they overlap. The sound is continued by its mirror image, so that each end is heard twice as well.
    """
    length = mixed.shape[-1]
    if length <= PIECE:
        vocals = _piece(model, mixed)
        progress(1, 1)
        return vocals
    border = PIECE - STEP
    padded = functional.pad(mixed, (border, border), mode="reflect")
    total, weights = torch.zeros_like(padded), torch.zeros(padded.shape[-1])
    fade = _fade()
    starts = range(0, length + border, STEP)
    for count, start in enumerate(starts, 1):
        heard = padded[:, start : start + PIECE]
        weight = fade[: heard.shape[-1]]
        total[:, start : start + PIECE] += _piece(model, heard) * weight
        weights[start : start + PIECE] += weight
        progress(count, len(starts))
    return total[:, border : border + length] / weights[border : border + length]


def _piece(model: MelBandRoformer, mixed: Tensor) -> Tensor:
    """The voice in one piece; a shorter one is filled up to the length that the model was trained on."""
    length = mixed.shape[-1]
    missing = PIECE - length
    mode = "reflect" if missing < length - 1 else "constant"
    device = next(model.parameters()).device
    vocals = model(functional.pad(mixed, (0, missing), mode=mode).to(device))[:, :length].cpu()
    if not bool(vocals.isfinite().all()):
        raise UserError(
            "the vocal separation gave values that are no numbers",
            fix="Load the separation model again, or leave separate_vocals off.",
        )
    return vocals


def _fade() -> Tensor:
    """(PIECE,): rises from 0 to 1 over FADE samples, and falls in the same way."""
    rise = torch.linspace(0, 1, FADE)
    return torch.cat([rise, torch.ones(PIECE - 2 * FADE), rise.flip(0)])
