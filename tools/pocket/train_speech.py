"""Training the speech encoder: wav2vec2 with a throw-away head that reads the mouth from every layer."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from tools.pocket.components import (
    SPEECH_DIM,
    SPEECH_LAYERS,
    build_speech_encoder,
    load_component,
    save_component,
)
from tools.pocket.measure import correlation
from tools.pocket.sound import FRAME, mouth_track
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw
from tools.pocket.voices import VoiceBank, load_voice_bank, training_waves

LENGTHS = (25, 126)  # frames, the upper bound excluded
MOUTH_VALUES = 2  # openness and width
log = logging.getLogger("pocket")


def speech_features(encoder: Wav2Vec2Model, waves: Tensor, num_frames: int) -> Tensor:
    """Waves (B, samples) at 16 kHz -> (B, num_frames, layers, channels), with gradients.

    As the application encodes a file: normalised over its length, resampled to frames before the layers.
    """
    centred = waves - waves.mean(-1, keepdim=True)
    normal = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-7)
    features = encoder.feature_extractor(normal)
    aligned = nn.functional.interpolate(features.float(), num_frames, mode="linear", align_corners=True)
    hidden, _ = encoder.feature_projection(aligned.transpose(1, 2))
    hidden = encoder.encoder.layer_norm(hidden + encoder.encoder.pos_conv_embed(hidden))
    states = []
    for layer in encoder.encoder.layers:
        output = layer(hidden, attention_mask=None)
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden)
    return torch.stack(states, dim=2)


def speech_windows(features: Tensor, first: int, frames: int, *, lowest: int = 0) -> Tensor:
    """Features (B, n, layers, channels) -> windows of five around each of `frames` frames from `first`.

    (B, frames, 5, layers, channels); indices are clamped to [lowest, n - 1], as at the ends of a file.
    """
    steps = torch.arange(-2, 3, device=features.device)
    index = first + torch.arange(frames, device=features.device)[:, None] + steps
    return features[:, index.clamp(lowest, features.shape[1] - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechData:
    """Random speech of one to five seconds, and the mouths that it opens."""

    generator: torch.Generator
    voices: VoiceBank

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """(waves (B, samples), mouths (B, frames, 2)) of one random length."""
        frames = int(torch.randint(*LENGTHS, ()))
        waves = training_waves(batch, frames * FRAME, self.generator, self.voices)
        return waves, mouth_track(waves)


def train_speech(options: StageOptions) -> None:
    """Train within the time and save pocket_wav2vec2."""
    torch.manual_seed(options.seed)
    encoder = build_speech_encoder().to(options.device)
    if options.resume is not None:
        load_component(encoder, options.resume, "pocket_wav2vec2")
    encoder.eval()  # no dropout, no masking: the features are to be exact
    head = nn.ModuleList(nn.Linear(SPEECH_DIM, MOUTH_VALUES) for _ in range(SPEECH_LAYERS)).to(options.device)
    generator = torch.Generator(options.device).manual_seed(options.seed)
    data = SpeechData(generator=generator, voices=load_voice_bank(options.voices, options.device))
    network = nn.ModuleList([encoder, head])
    average = Average(network, 0.99)
    optimizer = adamw([([p for p in network.parameters() if p.requires_grad], 1e-3)])
    box, report = Box(seconds=60 * options.minutes), Report("speech")
    while not box.over:
        waves, mouths = data.sample(options.batch)
        loss = _read_mouth(encoder, head, waves, mouths.shape[1]).sub(mouths[:, :, None]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update()
        box.advance([optimizer])
        report.add({"loss": loss})
        report.show(box)
    average.swap()
    save_component(options.out, "pocket_wav2vec2", encoder.state_dict())
    with torch.no_grad():
        waves, mouths = data.sample(64)
        read = _read_mouth(encoder, head, waves, mouths.shape[1])[:, :, -1]
    for index, name in enumerate(("openness", "width")):
        log.info(
            "speech held-out: %s r = %.3f",
            name,
            float(correlation(read[..., index], mouths[..., index]).mean()),
        )


def _read_mouth(encoder: Wav2Vec2Model, head: nn.ModuleList, waves: Tensor, frames: int) -> Tensor:
    features = speech_features(encoder, waves, frames)
    return torch.stack([layer(features[:, :, index]) for index, layer in enumerate(head)], dim=2)
