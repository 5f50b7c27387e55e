"""What was measured of this machine's speed, on disk: its rates, and how finished jobs went beside their
forecast.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wanvideo.cache_folder import cache_folder
from wanvideo.hardware import Hardware, probe_hardware, torch_cuda
from wanvideo.memory.rates import Calibration, Rates
from wanvideo.memory_plan import Forecast
from wanvideo.proof.kept import MachineProofs
from wanvideo.torch_switches import torch_version

log = logging.getLogger(__name__)

NEWEST_SHARE = 0.5  # of a correction that the newest job has; the rest is that of all before
LEAST_SECONDS = 0.05  # of a stage's forecast: what is shorter tells nothing
GUESSED = "guessed"
PEAK_TOLERANCE = 1.1
COMPILE = "compile"  # the stage of the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineKnowledge(MachineProofs):
    """All that is known of a machine: what works there, and how fast it is."""

    calibration: Calibration = Calibration()


def known_speed(proofs: MachineProofs | None) -> Calibration:
    """Of `MachineKnowledge`; nothing of trials alone."""
    return proofs.calibration if isinstance(proofs, MachineKnowledge) else Calibration()


def read_calibration(machine: Hardware) -> Calibration:
    """What is kept for this card, driver and torch; empty where nothing is."""
    measured = _read(_path("rates", machine))
    corrections = _read(_path("jobs", machine)).get(_basis(measured), {})
    try:
        rates = Rates(**measured) if measured else None
    except TypeError as error:
        log.warning("the measured speed can't be read and is guessed: %s", error)
        return Calibration()
    return Calibration(rates=rates, corrections=corrections, compiling=_read(_path(COMPILE, machine)))


def keep_rates(machine: Hardware, rates: Rates) -> Path:
    """Keep what was measured. Corrections of other rates no longer count."""
    return _write(_path("rates", machine), asdict(rates))


def record_job(
    kind: str,
    forecast: Forecast,
    stages: Mapping[str, float],
    peak_bytes: int,
    machine: Hardware | None = None,
) -> None:
    """Remember how a finished job of this `Job.kind` went: `stages` are the seconds of each, without loading
    and compiling.

    The correction of a stage is measured over forecast seconds, averaged exponentially over jobs. A peak well
    above the forecast is told in the log: the constants of the forecast are then too small.
    """
    machine = machine or probe_hardware()
    if peak_bytes > PEAK_TOLERANCE * forecast.device_bytes > 0:
        log.warning("peak of %.2f GB, %.2f GB forecast", peak_bytes / 1e9, forecast.device_bytes / 1e9)
    basis = _basis(_read(_path("rates", machine)))
    path = _path("jobs", machine)
    every = _read(path)
    known = every.get(basis, {}).get(kind, {})
    new = {
        stage: _corrected(known.get(stage), stages[stage] / expected.seconds)
        for stage, expected in forecast.stages.items()
        if expected.seconds > LEAST_SECONDS and stages.get(stage)
    }
    # Of other rates than today's nothing is kept.
    _write(path, {basis: {**every.get(basis, {}), kind: {**known, **new}}})


def record_compiling(kind: str, stages: Mapping[str, float], machine: Hardware | None = None) -> None:
    """Remember what compiling took in a job of this `Job.kind`, if anything was compiled."""
    if stages.get(COMPILE):
        path = _path(COMPILE, machine or probe_hardware())
        _write(path, {**_read(path), kind: stages[COMPILE]})


def _corrected(known: float | None, ratio: float) -> float:
    """The forecast was made with `known` already."""
    if known is None:
        return ratio
    return known * (1 - NEWEST_SHARE) + NEWEST_SHARE * known * ratio


def _basis(rates: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rates, sort_keys=True).encode()).hexdigest()[:16] if rates else GUESSED


def _path(what: str, machine: Hardware) -> Path:
    """One file for each card or CPU, driver and torch."""
    gpu = machine.gpus[0] if machine.device != "cpu" else None
    told = [gpu.name, gpu.driver] if gpu else [machine.cpu, machine.cores]
    key = hashlib.sha256(json.dumps([told, torch_version(), torch_cuda()]).encode()).hexdigest()[:16]
    return cache_folder("calibration") / f"{what}-{key}.json"


def _read(path: Path) -> dict[str, Any]:
    """Empty when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        log.warning("%s can't be read: %s", path.name, error)
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    """A folder that can't be written only means that it is measured again."""
    half = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(content), encoding="utf-8")
        half.replace(path)
    except OSError as error:
        log.warning("%s can't be kept: %s", path.name, error)
    return path
