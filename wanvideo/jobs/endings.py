"""What becomes of a job when the work on it ends other than by a fault in the program."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wanvideo.jobs.card_errors import broken_note, given_up, next_suspect
from wanvideo.jobs.job import CARD, Job
from wanvideo.jobs.store import MOST_ATTEMPTS, JobStore
from wanvideo.plan import GenerationPlan
from wanvideo.proof.kept import ATTENTION
from wanvideo.proof.suspects import Suspect

if TYPE_CHECKING:
    from wanvideo.pipeline import GenerationResult  # whose import costs seconds

log = logging.getLogger(__name__)


def leave_off(store: JobStore, job: Job, plan: GenerationPlan) -> None:
    """The job was cancelled: by whoever stops or pauses it, or because the worker leaves or has lost it.

    A stopped one keeps what is finished as a video of its own. Raises UserError when it can't be written.
    """
    now = store.held(job)
    if now is None:
        log.info("job %d: lost to another worker", job.id)
    elif now.stop_requested:
        log.info("job %d: stopped", job.id)
        _stop(store, now, plan)
    elif now.pause_requested:
        log.info("job %d: paused", job.id)
        store.pause(job)
    else:
        store.release(job)


def after_card_error(store: JobStore, job: Job, plan: GenerationPlan, reason: str) -> None:
    """The job goes on in another process without what is suspected; with nothing to suspect it is given up at
    its last attempt. `plan` is what ran.
    """
    now = store.held(job) or job
    suspect = next_suspect(plan, store.suspects(), reason)
    note = broken_note(suspect, reason, len(now.windows) + 1)
    log.info("job %d: %s", job.id, note)
    if suspect is not None:
        store.release_suspected(job, suspect, note)
    elif now.attempts >= MOST_ATTEMPTS:
        store.fail(job, given_up(reason, job.blocking), CARD)
    else:
        store.note(job, note)  # the supervisor gives the job back


def distrust_replaced(store: JobStore, job: Job, attention: str, made: GenerationPlan) -> None:
    """The pipeline puts exact attention in the place of one whose pictures are broken."""
    if made.attention != attention:
        reason = (
            f"its pictures were broken in job {job.id}, so it is not used until the program is started again"
        )
        store.suspect(Suspect(kind=ATTENTION, name=attention, reason=reason))


def result_of(plan: GenerationPlan, output: Path) -> dict[str, Any]:
    """What the card of a video shows; `told_by` has the rest for one that is whole."""
    return {
        "output": str(output),
        "effective": plan.effective(),
        "notes": list(plan.notes),
        "seconds": None,
        "stages": {},
    }


def told_by(made: "GenerationResult") -> dict[str, Any]:
    """Times, memory and quality of a whole video."""
    return {
        "seconds": made.seconds,
        "stages": made.stages,
        "peak_bytes": made.peak_bytes,
        "quality": made.quality.as_mapping(),
    }


def _stop(store: JobStore, job: Job, plan: GenerationPlan) -> None:
    from wanvideo.finished_file import keep_finished  # loads torch

    new = (note for note in job.notes if note not in plan.notes)
    told = replace(plan, notes=(*plan.notes, *new))
    kept = keep_finished(told)
    store.stop(job, result_of(told, kept) if kept else {})
