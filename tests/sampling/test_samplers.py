"""Samplers: the official tables and trajectories, diffusers' solvers, exact fields, slices, seeds."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wanvideo.errors import UserError
from wanvideo.sampling.samplers import SAMPLERS, Sampler, Schedule, find_sampler, flow_table
from wanvideo.sampling.steppers import SOLVERS, Stepper, make_stepper

GOLDENS = load_file(Path(__file__).parents[1] / "data/goldens/schedulers.safetensors")
GOLDEN_SAMPLERS = {"unipc": "unipc", "dpmpp": "dpm++", "infinitetalk": "multitalk"}
SINGLE_STEP = {"euler", "lcm"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stepper_for(name: str, steps: int, *, shift: float = 5.0, seed: int = 0) -> Stepper:
    return make_stepper(find_sampler(name), steps=steps, shift=shift, generator=seeded(seed))


def run_field(stepper: Stepper, target: Tensor, latents: Tensor) -> Tensor:
    """Follow the exact field of the point `target`."""
    for index, sigma in enumerate(stepper.sigmas[:-1].tolist()):
        latents = stepper.step((latents - target) / sigma, index, latents)
    return latents


def curved(latents: Tensor, sigma: float) -> Tensor:
    """A field whose x0 changes along the way, so that the solvers differ."""
    x0 = torch.tanh(latents * (1.2 - sigma)) * (1 - 0.5 * sigma)
    return (latents - x0) / sigma


def run_curved(stepper: Stepper, latents: Tensor, span: range) -> Tensor:
    for index in span:
        latents = stepper.step(curved(latents, float(stepper.sigmas[index])), index, latents)
    return latents


def golden_runs() -> list[tuple[str, str, float, int]]:
    prefixes = {key.rsplit(".", 1)[0] for key in GOLDENS if key.endswith(".trajectory")}
    rows = []
    for prefix in sorted(prefixes):
        kind, shift, steps = prefix.split(".")
        rows.append((prefix, GOLDEN_SAMPLERS[kind], float(shift[5:]), int(steps[5:])))
    return rows


@pytest.mark.parametrize(("prefix", "name", "shift", "steps"), golden_runs())
def test_official_tables_and_trajectories(prefix: str, name: str, shift: float, steps: int) -> None:
    stepper = stepper_for(name, steps, shift=shift)
    timesteps = GOLDENS[f"{prefix}.timesteps"].float()
    assert torch.equal(stepper.timesteps, timesteps[:steps])
    sigmas = GOLDENS.get(f"{prefix}.sigmas", timesteps / 1000)
    assert torch.equal(stepper.sigmas, sigmas)
    latents = GOLDENS["in.latent"]
    for index in range(steps):
        latents = stepper.step(GOLDENS["in.fake_outputs"][index], index, latents)
        assert (latents - GOLDENS[f"{prefix}.trajectory"][index]).abs().max() <= 1e-5


@pytest.mark.parametrize("row", SAMPLERS.values(), ids=lambda row: row.name)
def test_every_row_lands_on_the_target_of_an_exact_field(row: Sampler) -> None:
    target, start = torch.randn(2, 4, 6, generator=seeded(1)), torch.randn(2, 4, 6, generator=seeded(2))
    for steps in row.step_counts or (1, 2, 4, 8, 20):
        stepper = stepper_for(row.name, steps)
        assert stepper.sigmas.shape == (steps + 1,) and stepper.timesteps.shape == (steps,)
        assert stepper.sigmas.dtype == stepper.timesteps.dtype == torch.float32
        assert torch.all(stepper.sigmas.diff() < 0) and stepper.sigmas[-1] == 0
        landed = run_field(stepper, target, start)
        assert torch.allclose(landed, target, atol=2e-4), (row.name, steps)


@pytest.mark.parametrize("row", SAMPLERS.values(), ids=lambda row: row.name)
def test_same_seed_same_latents(row: Sampler) -> None:
    steps = row.step_counts[-1] if row.step_counts else 6
    start = torch.randn(2, 4, 6, generator=seeded(3))
    runs = [run_curved(stepper_for(row.name, steps, seed=seed), start, range(steps)) for seed in (7, 7, 8)]
    assert torch.equal(runs[0], runs[1]) and torch.isfinite(runs[0]).all()
    assert torch.equal(runs[0], runs[2]) != (row.solver in ("lcm", "dpm++_sde"))


@pytest.mark.parametrize("row", SAMPLERS.values(), ids=lambda row: row.name)
def test_slices_continue_the_run(row: Sampler) -> None:
    steps = row.step_counts[-1] if row.step_counts else 6
    start, generator = torch.randn(2, 4, 6, generator=seeded(4)), seeded()
    whole = run_curved(stepper_for(row.name, steps), start, range(steps))
    latents = start
    for span in (range(2), range(2, steps)):
        part = make_stepper(row, steps=steps, shift=5.0, generator=generator)
        latents = run_curved(part, latents, span)
    if row.solver in SINGLE_STEP:
        assert torch.equal(latents, whole)
    else:
        assert torch.isfinite(latents).all() and (latents - whole).abs().max() < 0.5
    with pytest.raises(ValueError, match="begin anew"):
        part.step(start, 0, start)


def test_euler_is_exact_where_v_is_constant() -> None:
    v, start = torch.randn(3, 5, generator=seeded(5)), torch.randn(3, 5, generator=seeded(6))
    stepper, latents = stepper_for("euler", 7), start
    for index in range(7):
        latents = stepper.step(v, index, latents)
    assert torch.allclose(latents, start - v, atol=1e-6)


@pytest.mark.parametrize("name", ["unipc", "dpm++", "deis", "res_multistep"])
def test_second_order_halves_the_step_and_quarters_the_error(name: str) -> None:
    start = torch.randn(2, 4, 6, generator=seeded(9)).double()
    reference = run_curved(_on_part("dpm++", 3000), start, range(3000))
    ends = [run_curved(_on_part(name, steps), start, range(steps)) for steps in (20, 40, 80)]
    errors = [float((end - reference).abs().max()) for end in ends]
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


def _on_part(name: str, steps: int) -> Stepper:
    """Noise levels 0.9 to 0.3, where the order shows; one more level keeps the first-order last step out."""
    sigmas = np.append(np.linspace(0.9, 0.3, steps + 1), 0.0).astype(np.float32)
    return SOLVERS[find_sampler(name).solver](Schedule(sigmas=sigmas, timesteps=sigmas[:-1] * 1000), seeded())


@pytest.mark.parametrize("steps", [3, 10, 20])
@pytest.mark.parametrize("name", ["unipc", "dpm++", "dpm++_sde", "deis", "lcm"])
def test_solvers_equal_those_of_diffusers(name: str, steps: int) -> None:
    schedule = flow_table(steps, 3.0, start=0.95)  # theirs loses digits in fp32 nearer to 1
    ours = SOLVERS[find_sampler(name).solver](schedule, seeded(1))
    theirs = _diffusers_scheduler(name, ours.sigmas, ours.timesteps)
    generator, options = seeded(1), {}
    latents = reference = torch.randn(1, 4, 2, 4, 4, generator=seeded(2))
    for index in range(steps - (name == "deis")):  # its last step of theirs is infinite at sigma 0
        v = curved(reference, float(ours.sigmas[index]))
        if name in ("lcm", "dpm++_sde"):
            options = {"generator": generator}
        reference = theirs.step(v, ours.timesteps[index], reference, return_dict=False, **options)[0]
        latents = ours.step(v, index, latents)
        assert torch.allclose(latents, reference, atol=3e-5), index
        latents = reference


def _diffusers_scheduler(name: str, sigmas: Tensor, timesteps: Tensor):  # type: ignore[no-untyped-def]
    import diffusers

    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    scheduler = {
        "unipc": lambda: diffusers.UniPCMultistepScheduler(**flow),
        "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(**flow, algorithm_type="dpmsolver++"),
        "dpm++_sde": lambda: diffusers.DPMSolverMultistepScheduler(**flow, algorithm_type="sde-dpmsolver++"),
        "deis": lambda: diffusers.DEISMultistepScheduler(**flow, lower_order_final=False),
        "lcm": lambda: diffusers.FlowMatchLCMScheduler(),
    }[name]()
    scheduler.set_timesteps(len(timesteps))
    scheduler.sigmas, scheduler.timesteps = sigmas, timesteps
    scheduler.set_begin_index(0)
    return scheduler


def test_beta_spacing_keeps_the_ends_and_favours_them() -> None:
    plain, beta = (find_sampler(name).schedule(10, 1.0).sigmas for name in ("euler", "euler/beta"))
    assert beta[0] == plain[0] == 1 and beta[-1] == 0
    assert beta[0] - beta[1] < plain[0] - plain[1] and beta[-2] < plain[-2]
    assert math.isclose(beta[5], 0.5, abs_tol=1e-6)
    official, beta = (find_sampler(name).schedule(10, 3.0).sigmas for name in ("unipc", "unipc/beta"))
    assert official[0] == beta[0] < 1


def test_fixed_tables() -> None:
    distill = find_sampler("flowmatch_distill").schedule(4, 5.0)
    raw = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
    assert np.allclose(distill.sigmas, 5 * raw / (1 + 4 * raw))
    causvid = find_sampler("flowmatch_causvid").schedule(3, 5.0)
    assert causvid.timesteps.tolist() == [999, 934, 862]
    talk = find_sampler("multitalk").schedule(4, 7.0)
    assert np.allclose(talk.timesteps, [1000, 933.43, 778.30, 6.96], atol=0.01)


REFUSED = [("flowmatch_distill", 5), ("flowmatch_causvid", 10), ("euler", 0)]


@pytest.mark.parametrize(("name", "steps"), REFUSED)
def test_a_number_of_steps_that_cannot_run_is_refused(name: str, steps: int) -> None:
    with pytest.raises(UserError, match=f"got {steps}; allowed"):
        find_sampler(name).schedule(steps, 5.0)


def test_names() -> None:
    expected = {
        "ddim": "euler",
        "dpmpp_2m": "dpm++",
        "dpmpp_3m": "dpm++",
        "dpmpp_sde": "dpm++_sde",
        "deis_2m": "deis",
        "res_2m": "res_multistep",
        "DDIM/beta": "euler/beta",
        " UniPC ": "unipc",
        "multitalk": "multitalk",
    }
    assert {alias: find_sampler(alias).name for alias in expected} == expected
    assert {row.solver for row in SAMPLERS.values()} == set(SOLVERS)
    with pytest.raises(UserError) as refused:
        find_sampler("sa_ode_stable")
    assert len(refused.value.allowed) == 3 and set(refused.value.allowed) <= set(SAMPLERS)
