"""wav2vec2: speech -> one stack of layer features per video frame, as InfiniteTalk reads it.

The convolutions give about 50 features a second; they are resampled to the frame rate BEFORE the transformer
layers, so every layer sees one position per video frame.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model

SAMPLE_RATE = 16_000
WHOLE_FRAMES = 1_500  # 60 s at 25 frames a second: up to here the file is encoded in one piece
OVERLAP_FRAMES = 125  # neighbours of a piece that it sees but does not return, on each side


@torch.no_grad()
def encode_speech(model: Wav2Vec2Model, samples: Tensor, num_frames: int) -> Tensor:
    """Mono samples (n,), float32 at 16 kHz -> (num_frames, layers, channels) in fp32.

    Speech of up to 1500 frames goes through the layers in one piece, as in the official code. Attention is
    quadratic in length, so longer speech goes in pieces that see 125 frames more on each side; what lies
    further away than 5 s is then out of sight. The convolutions always see the whole file.
    """
    waveform = _normalise(samples.to(model.device, torch.float32))
    features = model.feature_extractor(waveform[None].to(model.dtype)).float()
    aligned = nn.functional.interpolate(features, num_frames, mode="linear", align_corners=True)
    aligned = aligned.transpose(1, 2).to(model.dtype)
    if num_frames <= WHOLE_FRAMES:
        return _attend(model, aligned)
    step = WHOLE_FRAMES - 2 * OVERLAP_FRAMES
    parts = []
    for start in range(0, num_frames, step):
        first = max(0, start - OVERLAP_FRAMES)
        stack = _attend(model, aligned[:, first : start + step + OVERLAP_FRAMES])
        parts.append(stack[start - first :][:step])
    return torch.cat(parts)


def _normalise(samples: Tensor) -> Tensor:
    """Zero mean and unit variance over the whole file; silence stays silence."""
    return (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7)


def _attend(model: Wav2Vec2Model, features: Tensor) -> Tensor:
    """(1, frames, conv_channels) -> what each of the layers gives, (frames, layers, channels)."""
    with _outputs_of(model.encoder.layers) as outputs:
        last = model.encoder(model.feature_projection(features)[0]).last_hidden_state
    return torch.stack([*outputs[:-1], last], dim=2)[0].float()


@contextmanager
def _outputs_of(layers: nn.ModuleList) -> Iterator[list[Tensor]]:
    """Collects what `layers` give: how the encoder hands it out changes between transformers versions."""
    outputs: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.append(output)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
