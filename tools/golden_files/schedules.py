"""Sampler tables, which must be equal, and trajectories on stored model outputs."""

from collections.abc import Iterator

import torch

from tools.golden_files.golden import Golden, Row, compare
from wanvideo.sampling.samplers import find_sampler
from wanvideo.sampling.steppers import make_stepper

TRAJECTORY_LIMIT = 1e-5
OUR_NAMES = {"unipc": "unipc", "dpmpp": "dpm++", "infinitetalk": "multitalk"}


def check_schedules(golden: Golden) -> Iterator[Row]:
    """Every run of the file: its timesteps, sigmas and the latents after each step."""
    runs = sorted(name.removesuffix(".trajectory") for name in golden.tensors if name.endswith(".trajectory"))
    for run in runs:
        kind, shift, steps = run.split(".")
        stepper = make_stepper(
            find_sampler(OUR_NAMES[kind]),
            steps=int(steps.removeprefix("steps")),
            shift=float(shift.removeprefix("shift")),
            generator=torch.Generator(),
        )
        count = len(stepper.timesteps)
        timesteps = golden[f"{run}.timesteps"].float()  # InfiniteTalk's end in the 0 after the last step
        yield compare(f"{run}.timesteps", stepper.timesteps, timesteps[:count], 0.0)
        sigmas = golden.tensors.get(f"{run}.sigmas", timesteps / 1000)
        yield compare(f"{run}.sigmas", stepper.sigmas, sigmas, 0.0)
        latents, ours = golden["in.latent"], []
        for index in range(count):
            latents = stepper.step(golden["in.fake_outputs"][index], index, latents)
            ours.append(latents)
        yield compare(f"{run}.trajectory", torch.stack(ours), golden[f"{run}.trajectory"], TRAJECTORY_LIMIT)
