"""Whole talk runs of the official code, replayed with its noise through our own functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tools.golden_files.golden import Golden, Row, compare
from tools.golden_files.networks import VAE_LIMIT, load_for
from wanvideo.checkpoint.load import load_vae
from wanvideo.conditioning import PictureConditions, WindowConditions, predictor
from wanvideo.media.color import match_colors
from wanvideo.media.pictures import fit_picture
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.vae import decode, encode
from wanvideo.sampling.denoise import denoise
from wanvideo.sampling.guidance import Apg, Branch, Guidance
from wanvideo.sampling.samplers import find_sampler
from wanvideo.sampling.steppers import make_stepper
from wanvideo.window_tensors import (
    latent_masks,
    reference_clip,
    speaker_masks,
    speech_windows,
    token_masks,
    with_mask,
)
from wanvideo.windows import Window, plan_windows

LOOP_LIMIT = 1e-4
PASSES = {
    Branch(): "out_cond",
    Branch(prompt=False): "out_drop_text",
    Branch(prompt=False, speech=False): "out_uncond",
    Branch(speech=False): "out_drop_audio",
}


def check_inputs(_golden: Golden) -> Iterator[Row]:
    """Shared by the runs; nothing is computed from it alone."""
    yield Row(tensor="all", skipped="inputs of loop_*")


def check_loop(golden: Golden) -> Iterator[Row]:
    """Per window conditions, passes (the worst step of each is shown), latents and pixels; then the video."""
    if golden.info.get("teacache"):
        yield Row(tensor="all", skipped="not implemented: the engine has no TeaCache yet")
        return
    replay = Replay(golden)
    windows = replay.windows()
    yield Row(tensor="number of windows", error=float(abs(len(windows) - golden.info["windows"])))
    if len(windows) != golden.info["windows"]:
        return
    parts: list[Tensor] = []
    for window in windows:
        yield from replay.run(window)
        parts.append(replay.frames[:, window.skip : window.skip + window.keep])
    yield compare("video", torch.cat(parts, dim=1), golden["video"], LOOP_LIMIT)


@dataclass
class Replay:
    """One run. `frames` (3, F, H, W): the last window's, colours corrected; the next goes on from them."""

    golden: Golden
    frames: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        self.info: dict[str, Any] = self.golden.info
        self.inputs = self.golden.sibling("loop_inputs")
        self.transformer = load_for(self.golden)
        vae = next(stem for stem in self.info["weights"] if "vae" in stem)
        self.vae = load_vae(self.golden.sibling(vae).facts())
        speech = [self.inputs[f"audio{person + 1}"] for person in range(self.info["persons"])]
        self.speech = [embedding[: self.info["audio_len"]] for embedding in speech]
        height, width = self.golden["w0.noise"].shape[2:]
        self.size = (height * 8, width * 8)

    def windows(self) -> tuple[Window, ...]:
        total = min(self.info["max_frames_num"], len(self.speech[-1]))
        return plan_windows(total, self.info["frame_num"], self.info["motion_frame"])

    def run(self, window: Window) -> Iterator[Row]:
        """The rows of one window."""
        prefix = f"w{window.index}."
        conditions, rows = self._condition(window, prefix)
        yield from rows
        latents, rows = self._denoise(conditions, prefix)
        yield from rows
        yield compare(f"{prefix}final_latent", latents, self.golden[f"{prefix}final_latent"], LOOP_LIMIT)
        decoded = decode(self.vae, latents)
        yield compare(f"{prefix}decoded", decoded, self.golden[f"{prefix}decoded"], LOOP_LIMIT)
        self.frames = match_colors(decoded, self._picture(0), self.info["color_correction"])

    def _picture(self, frame: int) -> Tensor:
        """(3, 1, H, W): a frame of the source video, the last one past its end; of a picture the only one."""
        frames = self.inputs["frames_u8"]
        number = 0 if "image" in self.info["source"] else min(frame, len(frames) - 1)
        return fit_picture(Image.fromarray(frames[number].numpy()), *self.size)

    def _condition(self, window: Window, prefix: str) -> tuple[WindowConditions, list[Row]]:
        picture = self._picture(window.start)
        clip_latents = encode(self.vae, reference_clip(picture, window.frames))
        motion = self.frames[:, -self.info["motion_frame"] :] if window.index else picture
        motion_latents, speech = encode(self.vae, motion), speech_windows(self.speech, window)
        conditions = WindowConditions(
            prompt_embeds=self.inputs["context"],
            negative_embeds=self.inputs["context_null"],
            picture=PictureConditions(
                picture=picture,
                image_embeds=self.golden[f"{prefix}clip_fea"][0],
                image_latents=with_mask(clip_latents),
            ),
            speech=speech,
            regions=self._regions(),
            motion_latents=motion_latents,
        )
        checked = {
            "vae_enc_y": (clip_latents, VAE_LIMIT),
            "y": (with_mask(clip_latents)[None], VAE_LIMIT),
            "motion_pixels": (motion, LOOP_LIMIT),
            "latent_motion_frames": (motion_latents, LOOP_LIMIT),
            "audio": (speech[..., :1, :4], 0.0),
        }
        if self.info["persons"] > 1:
            checked["ref_target_masks"] = (self._latent_masks(), 0.0)
        return conditions, [
            compare(prefix + name, ours, self.golden[prefix + name], limit)
            for name, (ours, limit) in checked.items()
        ]

    def _regions(self) -> SpeakerRegions | None:
        return SpeakerRegions(token_masks(self._latent_masks())) if self.info["persons"] > 1 else None

    def _latent_masks(self) -> Tensor:
        """(3, h, w) of 0 / 1, from boxes on the source picture to the size of the latents."""
        height, width = self.inputs["frames_u8"].shape[1:3]
        masks = speaker_masks(_our_boxes(self.info["bbox"]), height, width)
        return latent_masks(masks, *self.size)

    def _denoise(self, conditions: WindowConditions, prefix: str) -> tuple[Tensor, list[Row]]:
        """Latents (16, T, h, w) of one window."""
        steps = range(self.info["steps"])
        noise = self.golden[f"{prefix}noise"][None]
        stepper = make_stepper(
            find_sampler("multitalk"), steps=len(steps), shift=self.info["shift"], generator=torch.Generator()
        )
        apg = Apg(norm_threshold=self.info["apg_norm_threshold"]) if self.info["apg"] else None
        guidance = Guidance([self.info["text_scale"]] * len(steps), self.info["audio_scale"], apg)
        predict = predictor(self.transformer, conditions, noise)
        rows: dict[str, Row] = {}
        step_of = {float(timestep): index for index, timestep in enumerate(stepper.timesteps)}

        def checked(latents: Tensor, timestep: Tensor, branches: Sequence[Branch]) -> Sequence[Tensor]:
            outputs = predict(latents, timestep, branches)
            step = f"{prefix}s{step_of[float(timestep)]}."
            ours = {PASSES[branch]: v[0] for branch, v in zip(branches, outputs, strict=True)}
            for name, value in {"latent_in": latents[0], "t": timestep, **ours}.items():
                row = compare(f"{prefix}s*.{name}", value, self.golden[step + name], LOOP_LIMIT)
                rows[name] = max(rows.get(name, row), row, key=lambda row: row.error)
            return outputs

        latents = denoise(
            checked,
            noise,
            stepper,
            guidance,
            steps,
            lambda *_: None,
            motion_latents=conditions.motion_latents,
        )
        return latents[0], list(rows.values())


def _our_boxes(boxes: dict[str, Sequence[float]] | Sequence[Sequence[float]] | None) -> list[list[float]]:
    """The official [x_min, y_min, x_max, y_max] have x along the ROWS; ours have it along the columns."""
    if boxes is None:
        return []
    ordered = boxes.values() if isinstance(boxes, dict) else boxes
    return [[y_min, x_min, y_max, x_max] for x_min, y_min, x_max, y_max in ordered]
