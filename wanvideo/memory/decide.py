"""Memory and time of a job, decided: the entry of this package for the planner."""

from collections.abc import Mapping
from dataclasses import dataclass

from wanvideo.hardware import Hardware
from wanvideo.memory.fitting import fit
from wanvideo.memory.forecasting import about_room, disk_bytes, host_bytes
from wanvideo.memory.rates import Calibration, guessed_rates
from wanvideo.memory.remarks import remarks
from wanvideo.memory.room import Room, room_on
from wanvideo.memory.seconds import stage_seconds
from wanvideo.memory.stages import swapped_bytes, with_idle, working_bytes
from wanvideo.memory.wishes import wishes_of
from wanvideo.memory.work import Job
from wanvideo.memory_plan import Forecast, MemoryPlan, StageForecast
from wanvideo.options import RuntimeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedMemory:
    """`notes` are sentences without a full stop."""

    memory: MemoryPlan
    forecast: Forecast
    notes: tuple[str, ...]


def decide_memory(
    job: Job,
    options: RuntimeOptions,
    machine: Hardware,
    calibration: Calibration,
    requantized: int = 0,
) -> DecidedMemory:
    """`requantized`: bytes of converted weights that the job keeps on disk. Raises UserError, with `strict`,
    for a job that is expected not to fit.
    """
    room = room_on(machine, options)
    memory = fit(job, wishes_of(options, job, room), room)
    notes = [*remarks(job, options, memory, room), *about_room(job, memory, room, strict=options.strict)]
    rates = calibration.rates or guessed_rates(machine)
    corrections = calibration.corrections.get(job.kind, {})
    seconds = stage_seconds(job, memory, rates, options.bandwidth_target)
    forecast = Forecast(
        stages=_stages(job, memory, room, _corrected(seconds, corrections)),
        working=working_bytes(job, memory),
        host_bytes=host_bytes(job, memory, room),
        disk_bytes=disk_bytes(job.work, requantized),
        swapped_bytes=swapped_bytes(job.sizes, memory),
        total_bytes=room.total if room.on_card else 0,
        calibrated=calibration.rates is not None or bool(corrections),
    )
    return DecidedMemory(memory=memory, forecast=forecast, notes=tuple(notes))


def _corrected(seconds: Mapping[str, float], corrections: Mapping[str, float]) -> dict[str, float]:
    return {stage: spent * corrections.get(stage, 1.0) for stage, spent in seconds.items()}


def _stages(
    job: Job, memory: MemoryPlan, room: Room, seconds: Mapping[str, float]
) -> dict[str, StageForecast]:
    sizes = with_idle(job, memory, room.budget)
    return {
        stage: StageForecast(
            device_bytes=sizes[stage] if room.on_card else 0, seconds=round(seconds[stage], 3)
        )
        for stage in sizes
    }
