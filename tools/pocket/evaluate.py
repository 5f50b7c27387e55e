"""Held-out figures of weights, and contact sheets: 16 clips per task from a seed no training uses."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Wav2Vec2Model

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import build_speech_encoder, build_vae, load_component
from tools.pocket.conditions import PocketModel
from tools.pocket.dataset import AUDIO_MARGIN, KINDS, Clips, make_clips
from tools.pocket.latent_pool import TEXT_ROWS
from tools.pocket.measure import lip_sync
from tools.pocket.sampling import (
    PictureInputs,
    SamplerOptions,
    euler,
    motion_velocity,
    talk_velocity,
    text_velocity,
)
from tools.pocket.shards import FRAMES
from tools.pocket.sheets import save_sheet
from tools.pocket.train_speech import speech_features, speech_windows
from tools.pocket.training_run import psnr
from tools.pocket.voices import load_voice_bank
from wanvideo.models.text_encoder import PromptTokenizer

SEED = 987_654_321
MOTION_FRAMES = 9
SIZE = 192
OPEN_MOUTH = 0.3
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pocket:
    """All components of a folder, ready to sample."""

    vae: ClipVae
    speech: Wav2Vec2Model
    model: PocketModel
    tokenizer: PromptTokenizer
    device: torch.device

    def ids(self, captions: list[str]) -> Tensor:
        """Token ids (B, rows), zero where there is none."""
        rows = torch.zeros(len(captions), TEXT_ROWS, dtype=torch.long)
        for index, caption in enumerate(captions):
            ids = self.tokenizer.encode(caption)[-TEXT_ROWS:]
            rows[index, : len(ids)] = torch.tensor(ids)
        return rows.to(self.device)

    @torch.no_grad()
    def picture_inputs(self, pictures: Tensor, captions: list[str]) -> PictureInputs:
        """Conditions of pictures (B, 3, S, S) for clips of the native length."""
        grey = torch.zeros_like(pictures)[:, :, None].expand(-1, -1, FRAMES - 1, -1, -1)
        video = torch.cat([pictures[:, :, None], grey], dim=2)
        condition = torch.cat([self.vae.encode(part) for part in video.split(4)])
        return PictureInputs(ids=self.ids(captions), pictures=pictures, condition=condition)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return torch.cat([self.vae.decode(part) for part in latents.split(4)])


def load_pocket(folder: Path, device: torch.device) -> Pocket:
    """Read every component of `folder`."""
    vae, speech, model = build_vae(), build_speech_encoder().eval(), PocketModel().eval()
    load_component(vae, folder, "pocket_vae")
    load_component(speech, folder, "pocket_wav2vec2")
    model.load(folder)
    return Pocket(
        vae=ClipVae(vae).to(device),
        speech=speech.to(device),
        model=model.to(device),
        tokenizer=PromptTokenizer.from_file(folder / "spiece.model"),
        device=device,
    )


@torch.no_grad()
def evaluate(folder: Path, voices: Path, device: torch.device, count: int) -> dict[str, float]:
    """Measure the weights of `folder` on `count` clips per task; figures and sheets go beside them."""
    pocket = load_pocket(folder, device)
    generator = torch.Generator(device).manual_seed(SEED)
    bank = load_voice_bank(voices, device)
    clips = {
        kind: make_clips(kind, count, frames=FRAMES, size=SIZE, generator=generator, voices=bank)
        for kind in KINDS
    }
    torch.manual_seed(SEED)
    sheets = folder / "sheets"
    figures = _measure_vae(pocket, clips, sheets)
    figures |= _measure_talk(pocket, clips["talk"], sheets)
    figures |= _measure_pair(pocket, clips["pair"], sheets)
    figures |= _measure_motion(pocket, clips["motion"], sheets)
    figures |= _measure_text(pocket, clips["shapes"], sheets)
    for name, value in figures.items():
        log.info("%s: %.3f", name, value)
    (folder / "figures.json").write_text(
        json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1)
    )
    return figures


def _measure_vae(pocket: Pocket, clips: dict[str, Clips], sheets: Path) -> dict[str, float]:
    figures = {}
    rows = []
    for kind, batch in clips.items():
        decoded = torch.cat([pocket.vae.decode(pocket.vae.encode(part)) for part in batch.video.split(4)])
        figures[f"vae psnr {kind} (dB)"] = psnr(decoded, batch.video)
        for index in range(min(2, len(batch.captions))):
            rows += [(f"{kind}: drawn", batch.video[index]), ("through the autoencoder", decoded[index])]
    save_sheet(sheets / "vae.png", rows)
    figures["vae psnr (dB)"] = sum(figures.values()) / len(figures)
    return figures


def _measure_talk(pocket: Pocket, clips: Clips, sheets: Path) -> dict[str, float]:
    """First windows from a clip's first frame, later ones from nine drawn frames and the neutral picture."""
    assert clips.waves is not None and clips.mouth is not None and clips.mouth_boxes is not None
    options = SamplerOptions()
    windows = _speech(pocket, clips.waves)[:, None]
    openness = clips.mouth[:, AUDIO_MARGIN:-AUDIO_MARGIN, 0]
    opening = pocket.picture_inputs(clips.video[:, :, 0], clips.captions)
    noise = torch.randn_like(opening.condition)
    first = euler(
        talk_velocity(pocket.model, opening, windows, options), noise, options, opening.condition[:, :, :1]
    )
    other = euler(
        talk_velocity(pocket.model, opening, windows.roll(1, 0), options),
        noise,
        options,
        opening.condition[:, :, :1],
    )
    following = pocket.picture_inputs(clips.reference, clips.captions)
    lead_in = pocket.vae.encode(clips.video[:, :, :MOTION_FRAMES])
    later = euler(talk_velocity(pocket.model, following, windows, options), noise, options, lead_in)
    made = {"first window": pocket.decode(first), "later window": pocket.decode(later)}
    figures = {"lip sync drawn": float(lip_sync(clips.video, clips.mouth_boxes, openness).mean())}
    for name, video in made.items():
        figures[f"lip sync {name}"] = float(lip_sync(video, clips.mouth_boxes, openness).mean())
        figures[f"colour error {name}"] = _colour_error(video, clips.video)
    figures["lip sync wrong speech"] = float(
        lip_sync(pocket.decode(other), clips.mouth_boxes, openness).mean()
    )
    rows = []
    for index in range(min(8, len(clips.captions))):
        rows += [(clips.captions[index], clips.video[index])]
        rows += [(name, video[index]) for name, video in made.items()]
    save_sheet(sheets / "talk.png", rows)
    return figures


def _measure_pair(pocket: Pocket, clips: Clips, sheets: Path) -> dict[str, float]:
    """Both mouths of a picture of two, against the track of its own speaker and of the other one."""
    assert clips.waves is not None and clips.mouth is not None and clips.mouth_boxes is not None
    options = SamplerOptions()
    windows = torch.stack([_speech(pocket, waves) for waves in clips.waves.unbind(1)], dim=1)
    inputs = pocket.picture_inputs(clips.video[:, :, 0], clips.captions)
    noise = torch.randn_like(inputs.condition)
    velocity = talk_velocity(pocket.model, inputs, windows, options)
    video = pocket.decode(euler(velocity, noise, options, inputs.condition[:, :, :1]))
    openness = clips.mouth[:, :, AUDIO_MARGIN:-AUDIO_MARGIN, 0]
    own, other = [], []
    for speaker in (0, 1):
        boxes = clips.mouth_boxes[:, speaker]
        speaks = openness[:, speaker].amax(-1) > OPEN_MOUTH
        own.append(lip_sync(video, boxes, openness[:, speaker])[speaks])
        both = speaks & (openness[:, 1 - speaker].amax(-1) > OPEN_MOUTH)
        other.append(lip_sync(video, boxes, openness[:, 1 - speaker])[both])
    rows = []
    for index in range(min(8, len(clips.captions))):
        rows += [("drawn", clips.video[index]), (clips.captions[index], video[index])]
    save_sheet(sheets / "pair.png", rows)
    return {
        "lip sync of two": float(torch.cat(own).mean()),
        "lip sync with the other's speech": float(torch.cat(other).mean()),
    }


def _speech(pocket: Pocket, waves: Tensor) -> Tensor:
    """Waves (B, samples) -> speech windows (B, F, 5, layers, channels)."""
    features = speech_features(pocket.speech, waves, FRAMES + 2 * AUDIO_MARGIN)
    return speech_windows(features, AUDIO_MARGIN, FRAMES)


def _measure_motion(pocket: Pocket, clips: Clips, sheets: Path) -> dict[str, float]:
    options = SamplerOptions()
    inputs = pocket.picture_inputs(clips.video[:, :, 0], clips.captions)
    noise = torch.randn_like(inputs.condition)
    video = pocket.decode(euler(motion_velocity(pocket.model, inputs, 2.0), noise, options))
    rows = []
    for index in range(min(10, len(clips.captions))):
        rows += [("drawn", clips.video[index]), (clips.captions[index], video[index])]
    save_sheet(sheets / "motion.png", rows)
    return {
        "colour error image to video": _colour_error(video, clips.video),
        "first frame psnr image to video (dB)": psnr(video[:, :, :1], clips.video[:, :, :1]),
    }


def _measure_text(pocket: Pocket, clips: Clips, sheets: Path) -> dict[str, float]:
    options = SamplerOptions()
    like = pocket.vae.encode(clips.video[:1])
    noise = torch.randn(len(clips.captions), *like.shape[1:], device=pocket.device)
    velocity = text_velocity(pocket.model, pocket.ids(clips.captions), noise, options.text_guidance)
    video = pocket.decode(euler(velocity, noise, options))
    save_sheet(sheets / "text.png", [(clips.captions[index], video[index]) for index in range(len(video))])
    return {"colour error text to video": _colour_error(video, clips.video)}


def _colour_error(video: Tensor, truth: Tensor) -> float:
    """Mean absolute error in [0, 1] of each frame's mean colour."""
    return float((video.mean((-1, -2)) - truth.mean((-1, -2))).abs().mean() / 2)
