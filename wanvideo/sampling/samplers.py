"""Every sampler by name: a sigma table (where the steps stand) joined to a solver (how one step is made).

A new sampler is one row. Sigma tables are plain numpy: the planner and the page read them without torch.
Noise level sigma mixes picture and noise as x = (1 - sigma) x0 + sigma * noise.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wanvideo.errors import UserError

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

TRAIN_TIMESTEPS = 1000
CAUSVID_TIMESTEPS = (999, 934, 862, 756, 603, 410, 250, 140, 74)
DISTILL_STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Noise levels (steps + 1,) down to the final one, and the timesteps (steps,) that the model is given."""

    sigmas: Array
    timesteps: Array


SigmaTable = Callable[[int, float], Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """One row. `solver` is a key of `steppers.SOLVERS`; `step_counts` are all that may run, empty = any."""

    name: str
    label: str
    table: SigmaTable
    solver: str
    aliases: tuple[str, ...] = ()
    step_counts: tuple[int, ...] = ()

    def schedule(self, steps: int, shift: float) -> Schedule:
        """The sigma table for this many model evaluations; UserError for a count the sampler cannot do."""
        if steps < 1 or (self.step_counts and steps not in self.step_counts):
            raise UserError(
                f"sampler {self.name} cannot run this number of steps",
                value=steps,
                allowed=self.step_counts or "1 and more",
                fix="Change the number of steps or choose another sampler.",
            )
        return self.table(steps, shift)


def shift_sigmas(sigmas: Doubles, shift: float) -> Doubles:
    """sigma' = s * sigma / (1 + (s - 1) * sigma): larger s spends more steps at high noise."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def even_spacing(steps: int) -> Doubles:
    """1 down to 0 in equal steps, (steps + 1,)."""
    return np.linspace(1, 0, steps + 1)


def beta_spacing(steps: int) -> Doubles:
    """1 down to 0 at the quantiles of Beta(0.6, 0.6): denser at both ends (arXiv 2407.12173)."""
    from scipy.stats import beta

    return np.asarray(beta.ppf(even_spacing(steps), 0.6, 0.6), dtype=np.float64)


def flow_table(
    steps: int,
    shift: float,
    *,
    start: float = 1.0,
    spacing: Callable[[int], Doubles] = even_spacing,
    whole_timesteps: bool = False,
) -> Schedule:
    """`spacing` scaled to begin at `start`, then shifted.

    start 0.999 is Wan's official UniPC table (its training grid ends there), start 1 the official DPM++ one;
    both give the model timesteps with the fraction cut off.
    """
    sigmas = shift_sigmas(spacing(steps) * start, shift)
    timesteps = sigmas[:-1] * TRAIN_TIMESTEPS
    if whole_timesteps:
        timesteps = np.trunc(timesteps)
    return Schedule(sigmas=sigmas.astype(np.float32), timesteps=timesteps.astype(np.float32))


def talk_table(steps: int, shift: float) -> Schedule:
    """InfiniteTalk's own: raw timesteps 1000 down to 1, shifted, then 0; in fp32 as in the official code."""
    raw = np.linspace(TRAIN_TIMESTEPS, 1, steps, dtype=np.float32) / np.float32(TRAIN_TIMESTEPS)
    factor = np.float32(shift)
    shifted = factor * raw / (np.float32(1) + (factor - np.float32(1)) * raw) * np.float32(TRAIN_TIMESTEPS)
    return _from_timesteps(shifted)


def causvid_table(steps: int, _shift: float) -> Schedule:
    """The timesteps CausVid was distilled on, the first `steps` of them, then 0."""
    return _from_timesteps(np.asarray(CAUSVID_TIMESTEPS[:steps], dtype=np.float32))


def _from_timesteps(timesteps: Array) -> Schedule:
    sigmas = np.append(timesteps / np.float32(TRAIN_TIMESTEPS), np.float32(0))
    return Schedule(sigmas=sigmas.astype(np.float32), timesteps=timesteps)


_UNIPC = partial(
    flow_table, start=float(np.float32(0.999)), whole_timesteps=True
)  # the official grid is held in fp32
_DPM = partial(flow_table, whole_timesteps=True)

_ROWS = (
    Sampler(name="unipc", label="UniPC (Wan's default)", table=_UNIPC, solver="unipc"),
    Sampler(name="dpm++", label="DPM++ 2M", table=_DPM, solver="dpm++", aliases=("dpmpp_2m", "dpmpp_3m")),
    Sampler(name="dpm++_sde", label="DPM++ 2M SDE", table=_DPM, solver="dpm++_sde", aliases=("dpmpp_sde",)),
    Sampler(name="euler", label="Euler", table=flow_table, solver="euler", aliases=("ddim",)),
    Sampler(name="deis", label="DEIS 2M", table=flow_table, solver="deis", aliases=("deis_2m",)),
    Sampler(name="lcm", label="LCM (distilled models)", table=flow_table, solver="lcm"),
    Sampler(name="res_multistep", label="RES 2M", table=flow_table, solver="res", aliases=("res_2m",)),
)

_FIXED_ROWS = (
    Sampler(
        name="flowmatch_distill",
        label="Flow match, 4-step distilled",
        table=flow_table,
        solver="euler",
        step_counts=(DISTILL_STEPS,),
    ),
    Sampler(
        name="flowmatch_causvid",
        label="Flow match, CausVid steps",
        table=causvid_table,
        solver="euler",
        step_counts=tuple(range(1, len(CAUSVID_TIMESTEPS) + 1)),
    ),
    Sampler(name="multitalk", label="InfiniteTalk's own", table=talk_table, solver="euler"),
)


def _with_beta_spacing(row: Sampler) -> Sampler:
    options = row.table.keywords if isinstance(row.table, partial) else {}
    return Sampler(
        name=f"{row.name}/beta",
        label=f"{row.label}, beta spacing",
        table=partial(flow_table, **options, spacing=beta_spacing),
        solver=row.solver,
        aliases=tuple(f"{alias}/beta" for alias in row.aliases),
    )


SAMPLERS: dict[str, Sampler] = {
    row.name: row for row in (*_ROWS, *_FIXED_ROWS, *(_with_beta_spacing(row) for row in _ROWS))
}
_BY_ANY_NAME = {name: row for row in SAMPLERS.values() for name in (row.name, *row.aliases)}


def find_sampler(name: str) -> Sampler:
    """The row of this name or alias; UserError naming the three nearest for any other."""
    wanted = name.strip().lower()
    if wanted not in _BY_ANY_NAME:
        nearest = difflib.get_close_matches(wanted, SAMPLERS, n=3, cutoff=0.0)
        raise UserError(
            "unknown sampler", value=name, allowed=nearest, fix="These three names are the nearest."
        )
    return _BY_ANY_NAME[wanted]
