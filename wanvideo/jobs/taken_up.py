"""From a row of the queue to a plan: what an earlier attempt finished is taken up, and what was asked for
since is heard before each window.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wanvideo.errors import UserError
from wanvideo.fallback import choose
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.job import Job
from wanvideo.jobs.store import JobStore
from wanvideo.memory.room import with_own_memory
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare, try_attention
from wanvideo.proof.kept import read_proofs
from wanvideo.proof.suspects import Suspect, with_suspects
from wanvideo.registry import attention_backends
from wanvideo.request import RANDOM_SEED, read_options, read_request
from wanvideo.windows import Window

log = logging.getLogger(__name__)

WAYS = (
    "attention",
    "quantization",
    "fuse_qkv_projections",
    "dtype",
)  # fields of a plan that may change midway


def plan_job(store: JobStore, job: Job) -> GenerationPlan:
    """The plan of a claimed job; its output, its windows and a drawn seed are written to its row. Raises
    UserError.
    """
    from wanvideo.finished_file import job_folder  # loads torch

    request, options = read_request(job.request), read_options(job.options)
    if job.attention:
        options = replace(options, attention=job.attention)
    wanted = Path(job.output) if job.output else None
    machine = with_own_memory(probe_hardware(), _held_bytes())
    suspects = store.suspects()
    (plan,) = prepare(request, options, wanted, tries_kernels=True, machine=machine, suspects=suspects)
    if request.seed == RANDOM_SEED:
        store.set_request(job, plan.request)
    plan = replace(plan, notes=(*plan.notes, *job.notes))
    changed = _take_up_windows(plan, job)
    if changed:
        store.note(job, changed)
        plan = replace(plan, notes=(*plan.notes, changed))
    store.set_output(job, plan.output)
    store.set_windows(job, job_folder(plan).path, {name: getattr(plan, name) for name in WAYS})
    return plan


class Steering:
    """Asked before each window of a job (`pipeline.generate`): takes over the attention that was chosen for
    it since. `attention` is the backend that runs as far as this knows.
    """

    def __init__(self, store: JobStore, job: Job, plan: GenerationPlan) -> None:
        self._store, self._job = store, job
        self._wanted = job.attention
        self.attention = plan.attention

    def __call__(self, plan: GenerationPlan, window: Window) -> GenerationPlan:
        """The plan for this window and the rest. What can't run here is noted and changes nothing."""
        now = self._store.held(self._job)
        if now is None or now.attention in (None, self._wanted):
            return plan
        self._wanted = now.attention
        try:
            changed = _with_attention(plan, str(now.attention), self._store.suspects())
        except UserError as error:
            changed = replace(
                plan, notes=(*plan.notes, f"{str(error).rstrip('.')}; {plan.attention} goes on")
            )
        else:
            sentence = f"from window {window.index + 1} on with {changed.attention}, as was asked"
            changed = replace(changed, notes=(*changed.notes, sentence))
        for note in changed.notes[len(plan.notes) :]:
            self._store.note(self._job, note)
            log.info("job %d: %s", self._job.id, note)
        self.attention = changed.attention
        return changed


def _with_attention(plan: GenerationPlan, name: str, suspects: Sequence[Suspect]) -> GenerationPlan:
    """The plan with the backend that this name comes to here, and what is to be said of it. Raises
    UserError.
    """
    options, machine = replace(plan.options, attention=name), probe_hardware()
    table, proofs = attention_backends(), with_suspects(read_proofs(machine), suspects).attention
    if machine.device != "cpu":
        try_attention(options, machine, proofs)
    notes = list(plan.notes)
    backend = choose(table, name, "attention", machine, options.strict, notes, proofs)
    return replace(plan, options=options, attention=backend.name, notes=tuple(notes))


def _take_up_windows(plan: GenerationPlan, job: Job) -> str:
    """Give the windows of an earlier attempt the name that this plan looks for, if nothing but the ways
    differs: the old name can be computed then. Returns what is to be said of it.
    """
    from wanvideo.finished_file import job_folder

    kept, new = job.windows, job_folder(plan).path
    if not kept or job.folder is None or Path(job.folder) == new:
        return ""
    old = Path(job.folder)
    if job_folder(replace(plan, **job.ways)).path != old:
        log.info("job %d: its files have changed, so its finished windows are of another video", job.id)
        return ""
    if new.exists():
        shutil.rmtree(new)
    old.rename(new)
    changes = [
        f"{name.replace('_', ' ')} {value} (before: {job.ways[name]})"
        for name in WAYS
        if (value := getattr(plan, name)) != job.ways[name]
    ]
    return f"from window {len(kept) + 1} on with {', '.join(changes)}"


def _held_bytes() -> int:
    """What PyTorch has of the card in this process, most of it in models that can make way."""
    import torch

    return torch.cuda.memory_reserved() if torch.cuda.is_initialized() else 0
