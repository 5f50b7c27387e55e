"""The losses of rectified flow: x_t = (1 - t) x_0 + t noise, the network predicts v = noise - x_0."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tools.pocket.conditions import PocketModel, random_halves, with_condition
from tools.pocket.latent_pool import Item
from wanvideo.models.passes import AudioContext

SHIFT = 3.0
NO_TEXT_SHARE = 0.1
NO_SPEECH_SHARE = 0.12
LEAD_IN_NOISE = 0.1  # the clean frames of a later window come from decoded and encoded pixels


def sample_times(count: int, device: torch.device) -> Tensor:
    """Times in (0, 1) of the uniform distribution after the flow shift."""
    uniform = torch.rand(count, device=device)
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


@dataclass(slots=True, kw_only=True)
class Objective:
    """The losses of each kind of batch. `no_prompts`: token ids (1, n) of what can stand for "no text"."""

    model: PocketModel
    no_prompts: list[Tensor]

    def loss(self, kind: str, item: Item) -> Tensor:
        """Mean squared error of v over the frames that are to be made."""
        latents = item["latents"].float()
        times = sample_times(len(latents), latents.device)
        noise = torch.randn_like(latents)
        noisy = torch.lerp(latents, noise, times.view(-1, 1, 1, 1, 1))
        if kind == "text":
            context = self.model.t2v.embed_context(self._prompt_rows(item["caption"]))
            v: Tensor = self.model.t2v(noisy, 1000 * times, context, rotary=self.model.t2v.rotary(latents))
            return (v - (noise - latents)).square().mean()
        given = _given_frames(item, latents)
        noisy = torch.where(given, _lead_in(latents), noisy)
        v = self._picture_v(noisy, times, item)
        weight = (~given).float() * (item["weight"][:, None, None] if "weight" in item else 1.0)
        error = (v - (noise - latents)).square().mean(1, keepdim=True)
        return (weight * error).sum() / weight.expand_as(error).sum()

    def _picture_v(self, noisy: Tensor, times: Tensor, item: Item) -> Tensor:
        model = self.model.i2v
        pictures = item["picture"].float() / 127.5 - 1
        context = model.embed_context(self._prompt_rows(item["caption"]), self.model.picture_tokens(pictures))
        audio = None if "speech" not in item else self._audio(item["speech"].float(), noisy)
        inputs = with_condition(noisy, item["condition"].float(), item["ends"])
        v: Tensor = model(inputs, 1000 * times, context, rotary=model.rotary(noisy), audio=audio)
        return v

    def _audio(self, windows: Tensor, latents: Tensor) -> AudioContext:
        """Speech (B, speakers, ...); now and then silence, which is that of one speaker, as when sampling."""
        model = self.model.i2v
        if windows.shape[1] == 1:
            silent = torch.rand(len(windows), device=windows.device) < NO_SPEECH_SHARE
            return AudioContext(model.embed_audio(windows * ~silent[:, None, None, None, None, None]))
        if torch.rand(()) < NO_SPEECH_SHARE:
            return AudioContext(model.embed_audio(torch.zeros_like(windows[:, :1])))
        return AudioContext(model.embed_audio(windows), random_halves(latents))

    def _prompt_rows(self, ids: Tensor) -> Tensor:
        rows = self.model.prompt_rows(ids)
        if torch.rand(()) < 0.5:  # all of the clips without a prompt come in every second batch
            return rows
        no_prompt = self.no_prompts[int(torch.randint(len(self.no_prompts), ()))]
        dropped = torch.rand(len(ids), device=ids.device) < 2 * NO_TEXT_SHARE
        return torch.where(dropped[:, None, None], self.model.prompt_rows(no_prompt), rows)


def _given_frames(item: Item, latents: Tensor) -> Tensor:
    """True where the latent frame is given clean: (B, 1, T, 1, 1). Image to video gives none."""
    index = torch.arange(latents.shape[2], device=latents.device)
    clean = item.get("clean", torch.zeros(len(latents), dtype=torch.long, device=latents.device))
    return (index < clean[:, None])[:, None, :, None, None]


def _lead_in(latents: Tensor) -> Tensor:
    """Clean latents with a little noise, of another strength for each clip, but none on frame 0."""
    strength = LEAD_IN_NOISE * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device)
    noise = torch.randn_like(latents) * strength
    noise[:, :, 0] = 0
    return latents + noise
