"""Solvers: the latents at one noise level and the model's answer -> the latents at the next level.

The model predicts v = noise - x0, so x0 = x - sigma * v and dx / dsigma = v. Every rule is linear in the
tensors, with coefficients that depend on the noise levels alone: Python floats in double precision, so that
nothing waits for the GPU (diffusers' UniPC solves its system there). Levels 1 and 0 have an infinite log-SNR,
which the formulas carry to the right limits.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from wanvideo.sampling.samplers import Sampler, Schedule


class Stepper(Protocol):
    """One run over a schedule. A slice of it may begin anywhere, but then goes on step by step."""

    sigmas: Tensor
    """(steps + 1,) fp32 on the CPU."""
    timesteps: Tensor
    """(steps,) fp32 on the CPU: what the model is given."""

    def step(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        """fp32 latents at sigmas[index] and the model's v there -> latents at sigmas[index + 1]."""


def make_stepper(sampler: Sampler, *, steps: int, shift: float, generator: torch.Generator) -> Stepper:
    """A fresh stepper; make one per window, since multistep solvers remember earlier answers.

    `generator` is on the CPU, so that stochastic samplers add the same noise on every device.
    The others leave it alone.
    """
    return SOLVERS[sampler.solver](sampler.schedule(steps, shift), generator)


class EulerStepper:
    """First order; for this model the same as DDIM. The other solvers share its bookkeeping."""

    def __init__(self, schedule: Schedule, generator: torch.Generator) -> None:
        self.sigmas = torch.from_numpy(schedule.sigmas)
        self.timesteps = torch.from_numpy(schedule.timesteps)
        self._levels: list[float] = self.sigmas.tolist()
        self._generator = generator
        self._next_index: int | None = None
        self._previous: Tensor | None = None  # the prediction of the step before, for solvers of second order

    def step(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        """See `Stepper`. ValueError when a run does not continue where it was."""
        if self._next_index not in (None, index):
            raise ValueError(
                f"step {self._next_index} is due, got {index}: make a fresh stepper to begin anew"
            )
        advanced = self._advance(v, index, latents)
        self._next_index = index + 1
        return advanced

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        return latents + v * (self._levels[index + 1] - self._levels[index])

    def _is_last(self, index: int) -> bool:
        return index == len(self._levels) - 2

    def _draw(self, latents: Tensor) -> Tensor:
        noise = torch.randn(latents.shape, generator=self._generator)
        return noise.to(latents.device, non_blocking=True)


class LcmStepper(EulerStepper):
    """Jump to x0, then back up to the next level with new noise (latent consistency models)."""

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        x0 = latents - self._levels[index] * v
        sigma = self._levels[index + 1]
        return x0 if sigma == 0 else (1 - sigma) * x0 + sigma * self._draw(latents)


class DpmStepper(EulerStepper):
    """DPM-Solver++ 2M, midpoint (arXiv 2211.01095): exponential integrator in log-SNR, last order 1."""

    def __init__(self, schedule: Schedule, generator: torch.Generator) -> None:
        super().__init__(schedule, generator)
        self._log_snr = [_log_snr(sigma) for sigma in self._levels]

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        x0 = latents - self._levels[index] * v
        advanced = self._predict(latents, x0, index)
        self._previous = x0
        return advanced

    def _predict(self, latents: Tensor, x0: Tensor, index: int) -> Tensor:
        sigma, next_sigma = self._levels[index : index + 2]
        gain = -(1 - next_sigma) * math.expm1(-self._log_snr_step(index))
        return next_sigma / sigma * latents + gain * self._extrapolate(x0, index)

    def _extrapolate(self, x0: Tensor, index: int) -> Tensor:
        """x0 half a step ahead, from its change over the last step."""
        if self._previous is None or self._is_last(index):
            return x0
        slope = self._log_snr_step(index) / self._log_snr_step(index - 1)
        return x0 + 0.5 * slope * (x0 - self._previous)

    def _log_snr_step(self, index: int) -> float:
        return self._log_snr[index + 1] - self._log_snr[index]


class DpmSdeStepper(DpmStepper):
    """The stochastic form of the same: each step forgets part of the noise and draws it anew."""

    def _predict(self, latents: Tensor, x0: Tensor, index: int) -> Tensor:
        sigma, next_sigma = self._levels[index : index + 2]
        step = self._log_snr_step(index)
        renewed = -math.expm1(-2 * step)
        kept = next_sigma / sigma * math.exp(-step)
        advanced = kept * latents + (1 - next_sigma) * renewed * self._extrapolate(x0, index)
        if next_sigma == 0:
            return advanced
        return advanced + next_sigma * math.sqrt(renewed) * self._draw(latents)


class UniPcStepper(DpmStepper):
    """UniPC, B2(h), order 2 (arXiv 2302.04867): predicts as DPM++ 2M, then each answer corrects."""

    def __init__(self, schedule: Schedule, generator: torch.Generator) -> None:
        super().__init__(schedule, generator)
        self._previous_latents: Tensor | None = None
        self._older_x0: Tensor | None = None

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        x0 = latents - self._levels[index] * v
        if self._previous_latents is not None and self._previous is not None:
            latents = self._correct(self._previous_latents, self._previous, x0, index)
        advanced = self._predict(latents, x0, index)
        self._older_x0, self._previous, self._previous_latents = self._previous, x0, latents
        return advanced

    def _correct(self, start: Tensor, start_x0: Tensor, x0: Tensor, index: int) -> Tensor:
        """The latents at `index` once more, from those at index - 1, now that x0 at both ends is known."""
        sigma, next_sigma = self._levels[index - 1 : index + 1]
        step = self._log_snr_step(index - 1)
        gain = -(1 - next_sigma) * math.expm1(-step)
        if self._older_x0 is None:
            x0_inside = start_x0 + 0.5 * (x0 - start_x0)
        else:
            ratio = -self._log_snr_step(index - 2) / step
            older_weight, new_weight = _corrector_weights(step, ratio)
            older_slope = (self._older_x0 - start_x0) / ratio
            x0_inside = start_x0 + older_weight * older_slope + new_weight * (x0 - start_x0)
        return next_sigma / sigma * start + gain * x0_inside


class DeisStepper(DpmStepper):
    """DEIS, log-rho, order 2 (arXiv 2204.13902): Euler plus the integral of the predicted noise's slope."""

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        sigma, next_sigma = self._levels[index : index + 2]
        noise = latents + (1 - sigma) * v
        advanced = latents + v * (next_sigma - sigma)
        if self._previous is not None and not self._is_last(index):
            step = self._log_snr_step(index)
            weight = next_sigma * (math.expm1(step) - step) / self._log_snr_step(index - 1)
            advanced = advanced + weight * (self._previous - noise)
        self._previous = noise
        return advanced


class ResStepper(EulerStepper):
    """RES 2M (arXiv 2308.02157): exponential integrator in -log(sigma), last step first order."""

    def _advance(self, v: Tensor, index: int, latents: Tensor) -> Tensor:
        sigma, next_sigma = self._levels[index : index + 2]
        x0 = latents - sigma * v
        advanced = latents + v * (next_sigma - sigma)
        if self._previous is not None and not self._is_last(index):
            step = math.log(sigma / next_sigma)
            phi1 = -math.expm1(-step) / step
            last_step = math.log(self._levels[index - 1] / sigma)
            advanced = advanced + (1 - phi1) * step / last_step * (x0 - self._previous)
        self._previous = x0
        return advanced


def _log_snr(sigma: float) -> float:
    if sigma in (0.0, 1.0):
        return math.inf if sigma == 0 else -math.inf
    return math.log1p(-sigma) - math.log(sigma)


def _corrector_weights(step: float, ratio: float) -> tuple[float, float]:
    """Weights of the older and the newest difference of x0: UniC's 2 x 2 system, solved by hand."""
    slope = math.expm1(-step) / -step - 1
    curve = slope / -step - 0.5
    first, second = slope / math.expm1(-step), 2 * curve / math.expm1(-step)
    older = (first - second) / (1 - ratio)
    return older, first - older


SOLVERS: dict[str, type[EulerStepper]] = {
    "euler": EulerStepper,
    "lcm": LcmStepper,
    "dpm++": DpmStepper,
    "dpm++_sde": DpmSdeStepper,
    "unipc": UniPcStepper,
    "deis": DeisStepper,
    "res": ResStepper,
}
