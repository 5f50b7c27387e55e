"""The only denoising loop. It knows nothing of the model: `predict` makes the forward passes of one step,
`stepper` is one solver.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from wanvideo.sampling.guidance import Branch, Guidance
from wanvideo.sampling.steppers import Stepper

Predict = Callable[[Tensor, Tensor, Sequence[Branch]], Sequence[Tensor]]
OnStep = Callable[[int, Tensor], None]


@torch.no_grad()
def denoise(
    predict: Predict, latents: Tensor, stepper: Stepper, guidance: Guidance, steps: Iterable[int],
    on_step: OnStep, *, motion_latents: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Latents (batch, 16, frames, height, width), fp32, at the noise of the first step -> at that after the
    last.

    `steps` are successive indices of the schedule; one is taken when its step begins, so an iterator can
    prepare the model for it.
    `motion_latents` (16, m, height, width) stand clean in the first m frames before every pass and after
    every step, at the full timestep. `on_step(index, estimate)` gets the current estimate of the clean
    latents; it may raise Cancelled. Nothing here waits for the GPU.
    """
    timesteps = stepper.timesteps.to(latents.device, non_blocking=True)
    levels = stepper.sigmas.tolist()
    for index in steps:
        latents = _hold(latents, motion_latents)
        timestep = timesteps[index : index + 1]
        v = guidance.combine(index, predict(latents, timestep, guidance.branches(index)))
        estimate = latents - levels[index] * v
        latents = stepper.step(v, index, latents)
        on_step(index, estimate)
    return _hold(latents, motion_latents)


def _hold(latents: Tensor, motion_latents: Tensor | None) -> Tensor:
    if motion_latents is None:
        return latents
    held = motion_latents.shape[1]
    return torch.cat([motion_latents.expand(latents.shape[0], -1, -1, -1, -1), latents[:, :, held:]], dim=2)
