"""Sampling as the application does it, in batches: InfiniteTalk's table, guidance, clean frames."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.pocket.conditions import PocketModel, default_halves, with_condition
from wanvideo.models.passes import AudioContext

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerOptions:
    """The pocket model's own profile."""

    steps: int = 8
    shift: float = 3.0
    audio_guidance: float = 2.0
    text_guidance: float = 3.5


def timesteps(steps: int, shift: float) -> list[float]:
    """linspace(1000, 1) and 0 after the flow shift: `steps` + 1 values."""
    raw = [*torch.linspace(1000, 1, steps).tolist(), 0.0]
    return [1000 * shift * (t / 1000) / (1 + (shift - 1) * (t / 1000)) for t in raw]


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, options: SamplerOptions, given: Tensor | None = None) -> Tensor:
    """Noise (B, 16, T, h, w) -> latents; `given` (B, 16, L, h, w) replaces the first L frames throughout."""
    table = timesteps(options.steps, options.shift)
    latents = _hold(noise.clone(), given)
    for now, then in zip(table, table[1:], strict=False):
        v = velocity(latents, torch.full((len(noise),), now, device=noise.device))
        latents = _hold(latents - v * (now - then) / 1000, given)
    return latents


def _hold(latents: Tensor, given: Tensor | None) -> Tensor:
    if given is not None:
        latents[:, :, : given.shape[2]] = given
    return latents


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInputs:
    """What is sampled from: ids (B, n), pictures (B, 3, S, S), condition (B, 16, T, h, w)."""

    ids: Tensor
    pictures: Tensor
    condition: Tensor


@torch.no_grad()
def talk_velocity(
    model: PocketModel, inputs: PictureInputs, windows: Tensor, options: SamplerOptions
) -> Velocity:
    """Guidance between speech windows (B, speakers, F, 5, layers, channels) and the silence of one speaker.

    No text guidance: two passes. Two speakers sit in the halves of the picture.
    """
    network = model.i2v
    context = network.embed_context(model.prompt_rows(inputs.ids), model.picture_tokens(inputs.pictures))
    regions = None if windows.shape[1] == 1 else default_halves(inputs.condition)
    heard = AudioContext(network.embed_audio(windows), regions)
    silent = AudioContext(network.embed_audio(torch.zeros_like(windows[:, :1])))
    rotary = network.rotary(inputs.condition)

    def velocity(latents: Tensor, time: Tensor) -> Tensor:
        x = with_condition(latents, inputs.condition)
        with_speech: Tensor = network(x, time, context, rotary=rotary, audio=heard)
        if options.audio_guidance == 1:
            return with_speech
        without: Tensor = network(x, time, context, rotary=rotary, audio=silent)
        return without + options.audio_guidance * (with_speech - without)

    return velocity


@torch.no_grad()
def motion_velocity(model: PocketModel, inputs: PictureInputs, guidance: float) -> Velocity:
    """Guidance between the prompt and the empty prompt, without the speech branch."""
    network = model.i2v
    tokens = model.picture_tokens(inputs.pictures)
    context = network.embed_context(model.prompt_rows(inputs.ids), tokens)
    empty = network.embed_context(model.prompt_rows(_empty(inputs.ids)), tokens)
    rotary = network.rotary(inputs.condition)

    def velocity(latents: Tensor, time: Tensor) -> Tensor:
        x = with_condition(latents, inputs.condition)
        return _guided(lambda c: network(x, time, c, rotary=rotary), context, empty, guidance)

    return velocity


@torch.no_grad()
def text_velocity(model: PocketModel, ids: Tensor, latents_like: Tensor, guidance: float) -> Velocity:
    """Guidance between the prompt and the empty prompt for text to video."""
    network = model.t2v
    context = network.embed_context(model.prompt_rows(ids))
    empty = network.embed_context(model.prompt_rows(_empty(ids)))
    rotary = network.rotary(latents_like)

    def velocity(latents: Tensor, time: Tensor) -> Tensor:
        return _guided(lambda c: network(latents, time, c, rotary=rotary), context, empty, guidance)

    return velocity


def _guided(predict: Callable[..., Tensor], context: object, empty: object, guidance: float) -> Tensor:
    conditional = predict(context)
    if guidance == 1:
        return conditional
    unconditional = predict(empty)
    return unconditional + guidance * (conditional - unconditional)


def _empty(ids: Tensor) -> Tensor:
    """The empty prompt: the end-of-text token alone."""
    return torch.ones_like(ids[:, :1])
