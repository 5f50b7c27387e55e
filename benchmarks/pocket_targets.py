"""What the bundled model shows on any machine: clips, what a second one costs, passes of a step, a stop."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer
from typing import Any
from unittest.mock import patch

from benchmarks.pocket_clips import Clip, plan_clip
from benchmarks.target_row import Bench, Found, Goal, Target, value_at_most
from wanvideo.jobs.job import STOPPED, queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import Studio, work_on
from wanvideo.model_cache import ModelCache, open_cache
from wanvideo.models.transformer import WanTransformer
from wanvideo.pipeline import generate
from wanvideo.prepare import PROJECT
from wanvideo.request import ProgressEvent

LONGEST_SECONDS = 500
PASSES = {(5.0, 4.0): 3, (5.0, 1.0): 2, (1.0, 4.0): 2, (1.0, 1.0): 1}  # (text, audio) guidance -> passes
STEPS_COUNTED, STEPS_STOPPED = 2, 40
PRESSED_AFTER = 0.01  # seconds into a step: nearly all of it is still to come
MOST_STOPPING = 2.0


def _clips(bench: Bench) -> tuple[float, list[Clip]]:
    """(when the process was started, its clips); the same for all rows that ask."""
    return bench.keep("pocket clips", partial(_run_clips, quick=bench.quick))


def _run_clips(*, quick: bool) -> tuple[float, list[Clip]]:
    """Raises RuntimeError for a process that ended without an answer."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.pocket_clips", folder, *(["--quick"] if quick else [])]
        # Prompts that an earlier run encoded would be no cold start.
        environment = {**os.environ, "WANVIDEO_CACHE": str(Path(folder) / "cache")}
        started = time.time()
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"the process ended with code {done.returncode}")
    return started, [Clip(**row) for row in json.loads(lines[-1])]


def _cold(bench: Bench) -> Found:
    started, (first, _) = _clips(bench)
    return Found(value=first.ended - started, unit="s", how=_told(bench, first))


def _second(bench: Bench) -> Found:
    """The peer is the first clip, so that the ratio says how much of a cold start is saved."""
    started, (first, second) = _clips(bench)
    cold, warm = first.ended - started, second.ended - first.ended
    return Found(value=warm, unit="s", peer=cold, ratio=warm / cold, how=_told(bench, second))


def _overhead(bench: Bench) -> Found:
    _, clips = _clips(bench)
    return Found(value=clips[-1].other, unit="s", how=_told(bench, clips[-1]))


def _told(bench: Bench, clip: Clip) -> str:
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in clip.stages.items())
    return f"{bench.machine.device}, {clip.steps} steps, {clip.processor:.1f} s of processors; {stages}"


def _passes(bench: Bench) -> Found:
    """Forward passes that the model is really asked for, in a step of each kind of guidance."""
    bench.forget()
    counted, cache = {}, open_cache(bench.machine)
    with TemporaryDirectory() as folder:
        for scales in PASSES:
            changes = {"guidance_scale": scales[0], "audio_guidance_scale": scales[1]}
            counted[scales] = _count(Path(folder), changes, cache) / STEPS_COUNTED
    told = ", ".join(f"text {text:g} and audio {audio:g}" for text, audio in PASSES)
    return Found(
        value=" / ".join(f"{passes:g}" for passes in counted.values()),
        unit="passes a step",
        holds=counted == PASSES,
        how=f"guidance {told}; talk, one speaker, {STEPS_COUNTED} steps",
    )


def _count(folder: Path, changes: dict[str, float], cache: ModelCache) -> int:
    plan = plan_clip(folder, quick=True, num_inference_steps=STEPS_COUNTED, seed=1, **changes)
    counts: list[int] = []
    original: Callable[..., Any] = WanTransformer.forward_passes

    def counting(model: WanTransformer, latents: Any, timestep: Any, passes: Any, **more: Any) -> Any:
        counts.append(len(passes))
        return original(model, latents, timestep, passes, **more)

    with patch.object(WanTransformer, "forward_passes", counting):
        generate(plan, cache)
    return sum(counts)


class _Stopper:
    """Watches a job and presses stop a moment after its first step; counts the steps that end afterwards."""

    def __init__(self, store: JobStore, job_id: int) -> None:
        self._press = Timer(PRESSED_AFTER, self._pressed)
        self._store, self._job_id = store, job_id
        self._steps: list[float] = []
        self.pressed_at: float | None = None
        self.steps_after = 0

    def __call__(self, event: ProgressEvent) -> None:
        if not event.step:
            return
        self._steps.append(time.perf_counter())
        self.steps_after += self.pressed_at is not None
        if event.step == 1:
            self._press.start()

    def _pressed(self) -> None:
        self.pressed_at = time.perf_counter()
        self._store.request_stop(self._job_id)


@contextmanager
def _job_in_queue(quick: bool) -> Iterator[tuple[JobStore, int]]:
    with TemporaryDirectory() as folder:
        plan = plan_clip(Path(folder), quick=quick, num_inference_steps=STEPS_STOPPED, seed=1)
        store = JobStore(queue_file(folder))
        yield store, store.add(plan.request, plan.options)


def _stop(bench: Bench) -> Found:
    """By the queue and the worker's own code, in this process. Raises RuntimeError when it came too late."""
    bench.forget()
    with _job_in_queue(bench.quick) as (store, job_id):
        job = store.claim("benchmark")
        assert job is not None
        stopper = _Stopper(store, job_id)
        studio = Studio(generate=generate, cache=open_cache(bench.machine), show=stopper)
        work_on(store, job, studio, Event())
        ended = time.perf_counter()
        state = getattr(store.get(job_id), "state", None)
    if stopper.pressed_at is None or state != STOPPED:
        raise RuntimeError(f"the job is {state}")
    return Found(
        value=ended - stopper.pressed_at,
        unit="s",
        holds=stopper.steps_after <= 1,
        how=f"steps that ended after the press: {stopper.steps_after}; {bench.machine.device}",
    )


TARGETS = (
    Target(
        name="pocket talk clip, cold",
        measure=_cold,
        goal=Goal(text="<= 60 s on 2 CPU cores", is_met=value_at_most(60.0)),
        needs_card=False,
    ),
    Target(
        name="pocket talk clip, second",
        measure=_second,
        goal=Goal(text="<= 25 s on 2 CPU cores", is_met=value_at_most(25.0)),
        peer="the first clip, its process's start included",
        needs_card=False,
    ),
    Target(
        name="second generation, beside denoise and VAE",
        measure=_overhead,
        goal=Goal(text="<= 0.5 s", is_met=value_at_most(0.5)),
        needs_card=False,
    ),
    Target(
        name="talk passes",
        measure=_passes,
        goal=Goal(text=" / ".join(map(str, PASSES.values())), is_met=lambda found: found.holds),
        needs_card=False,
    ),
    Target(
        name="stop",
        measure=_stop,
        goal=Goal(text="< 2 s, within a step", is_met=value_at_most(MOST_STOPPING)),
        needs_card=False,
    ),
)
