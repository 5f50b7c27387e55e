"""`python -m wanvideo queue ACTION`, `resume JOB` and `unload`: the page's queue from a terminal."""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from wanvideo.cli_answer import Answer, Console
from wanvideo.errors import Cancelled, UserError
from wanvideo.hardware import probe_hardware
from wanvideo.jobs import orders
from wanvideo.jobs.job import DONE, FAILED, QUEUED, RUNNING, Job, queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import Studio, work_on, worker_name
from wanvideo.model_cache import open_cache
from wanvideo.request import OPTION_FIELDS, ProgressEvent

PROMPT_LETTERS = 50
_NUMBER = "a number of `queue list`"


def add_queue_flags(parser: argparse.ArgumentParser) -> None:
    """What `queue` takes beside the flags of every command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, action in ACTIONS.items():
        added = actions.add_parser(name, help=action.help, description=action.help, allow_abbrev=False)
        add_folder(added)
        for flag in ("--json", "--debug"):  # as of every command, also after the action
            added.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.flags(added)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The flag of the output folder, where the queue lies."""
    default = OPTION_FIELDS["output_dir"].default
    parser.add_argument("--output-dir", default=default, metavar="D", help="whose queue is asked")


def add_resume_flags(parser: argparse.ArgumentParser) -> None:
    """What `resume` takes."""
    add_folder(parser)
    _one_job(parser)


def run_queue(arguments: argparse.Namespace) -> Answer:
    """Carry out the action. Raises UserError without a queue, without such a job, and when it is not in a
    state for it.
    """
    return ACTIONS[arguments.action].run(_open(arguments), arguments)


def run_resume(arguments: argparse.Namespace, console: Console) -> Answer:
    """Make a job that waits, was paused, stopped or failed, in this process; its finished windows are taken
    up. Raises UserError when another worker has it or it can't be made, Cancelled when it is stopped: it is
    paused then.
    """
    store = _open(arguments)
    job = _claimed(store, arguments.job)
    from wanvideo.pipeline import generate  # loads torch

    with console.watch() as progress:

        def show(event: ProgressEvent) -> None:
            try:
                progress(event)
            except Cancelled:
                orders.pause_job(store, job.id)  # what the worker reads next

        studio = Studio(generate=generate, cache=open_cache(probe_hardware()), show=show)
        work_on(store, job, studio, Event())
    return _made(store.get(job.id) or job)


def run_unload(arguments: argparse.Namespace) -> Answer:
    """Ask the worker of the page to drop its models."""
    done = orders.unload_models(queue_file(arguments.output_dir))
    words = "The models were unloaded." if done else "Nothing to unload now; a running job is finished first."
    return Answer(lines=(words,), values={"unloaded": done})


def _open(arguments: argparse.Namespace) -> JobStore:
    path = queue_file(arguments.output_dir)
    if not path.exists():
        fix = "Name the output folder of the page with --output-dir."
        raise UserError("there is no queue in this folder", value=str(Path(arguments.output_dir)), fix=fix)
    return JobStore(path)


def _claimed(store: JobStore, job_id: int) -> Job:
    """The job, held by this process."""
    job = store.get(job_id)
    if job is not None and job.state not in (QUEUED, RUNNING):
        again = orders.retry_job if job.ended else orders.resume_job
        again(store, job_id)
    claimed = store.claim(worker_name(os.getpid()), job_id)
    if claimed is None:
        what = "there is no such job" if job is None else "another worker is making this job"
        raise UserError(what, value=job_id, fix="See: queue list")
    return claimed


def _made(job: Job) -> Answer:
    if job.state == DONE:
        seconds = job.result["seconds"]
        values = {name: job.result[name] for name in ("output", "effective", "notes")}
        lines = (*(f"Note: {note}." for note in job.result["notes"]), str(job.result["output"]))
        return Answer(
            lines=(*lines, f"{seconds:.1f} seconds"), values={**values, "seconds": round(seconds, 3)}
        )
    if job.state == FAILED:
        raise UserError(job.error.rstrip("."))
    raise Cancelled(f"Job {job.id} is {job.state}; its finished windows are kept: resume {job.id}")


def _list(store: JobStore, _: argparse.Namespace) -> Answer:
    waiting = store.waiting()
    others = [job for job in store.list() if job.id not in {one.id for one in waiting}]
    jobs = (*others[::-1], *waiting)
    paused = orders.is_paused(store)
    lines = [*(["The queue is paused: no job is begun."] if paused else []), *map(_line, jobs)]
    values = {"paused": paused, "jobs": [_values(job) for job in jobs]}
    return Answer(lines=tuple(lines or ["The queue is empty."]), values=values)


def _line(job: Job) -> str:
    prompt = str(job.request.get("prompt") or Path(str(job.request.get("image") or "")).name)
    told = job.error or str(job.result.get("output") or "") or _progress(job) or prompt[:PROMPT_LETTERS]
    return f"{job.id:>5}  {job.state:<8}  {told}"


def _progress(job: Job) -> str:
    shown = job.progress
    if job.state != RUNNING or not shown:
        return ""
    where = f"window {shown['window'] + 1}/{shown['windows']}" if shown.get("windows", 1) > 1 else ""
    return f"{shown.get('stage', '')} {where} {100 * (shown.get('fraction') or 0):.0f} %"


def _values(job: Job) -> dict[str, Any]:
    fields = ("id", "state", "output", "error", "attention", "created", "started", "ended")
    values = {name: getattr(job, name) for name in fields}
    return {**values, "notes": list(job.notes), "windows": len(job.windows), "result": dict(job.result)}


def _stop(store: JobStore, arguments: argparse.Namespace) -> Answer:
    running = [job.id for job in store.list() if job.state == RUNNING]
    everything = running + [job.id for job in store.waiting()]
    numbers = [arguments.job] if arguments.job is not None else everything if arguments.all else running
    for number in numbers:
        if store.get(number) is None:
            raise UserError("there is no such job in the queue", value=number, fix="See: queue list")
        store.request_stop(number)
    return _told("stopped", numbers)


def _ordered(order: Callable[[JobStore, int], object], word: str) -> Callable[..., Answer]:
    """An action that does this to a job."""

    def run(store: JobStore, arguments: argparse.Namespace) -> Answer:
        order(store, arguments.job)
        return _told(word, [arguments.job])

    return run


def _pause(store: JobStore, arguments: argparse.Namespace) -> Answer:
    if arguments.job is not None:
        return _ordered(orders.pause_job, "paused")(store, arguments)
    orders.pause_queue(store)
    return Answer(lines=("The queue is paused; a running job is finished.",), values={"paused": True})


def _resume(store: JobStore, arguments: argparse.Namespace) -> Answer:
    if arguments.job is not None:
        return _ordered(orders.resume_job, "resumed")(store, arguments)
    orders.resume_queue(store)
    return Answer(lines=("The queue goes on.",), values={"paused": False})


def _retry(store: JobStore, arguments: argparse.Namespace) -> Answer:
    orders.retry_job(store, arguments.job, blocking=arguments.blocking)
    return _told("queued again", [arguments.job])


def _copy(store: JobStore, arguments: argparse.Namespace) -> Answer:
    return _told("queued", [orders.copy_job(store, arguments.job)])


def _move(store: JobStore, arguments: argparse.Namespace) -> Answer:
    orders.move_job(store, arguments.job, arguments.where)
    return _told("moved", [arguments.job])


def _attention(store: JobStore, arguments: argparse.Namespace) -> Answer:
    orders.switch_attention(store, arguments.job, arguments.name)
    return _told(f"goes on with {arguments.name} from its next window", [arguments.job])


def _told(word: str, numbers: list[int]) -> Answer:
    lines = tuple(f"Job {number}: {word}." for number in numbers) or (f"No job to be {word}.",)
    return Answer(lines=lines, values={"jobs": numbers})


def _one_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=int, metavar="JOB", help=_NUMBER)


def _job_or_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", type=int, nargs="?", metavar="JOB", help=f"{_NUMBER}; without it the whole queue"
    )


def _stop_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", type=int, nargs="?", metavar="JOB", help=f"{_NUMBER}; without it those that run"
    )
    parser.add_argument("--all", action="store_true", help="the jobs that wait, too")


def _retry_flags(parser: argparse.ArgumentParser) -> None:
    _one_job(parser)
    words = "launch kernels one by one, slowly, so that an error of the card names its line in worker.log"
    parser.add_argument("--blocking", action="store_true", help=words)


def _move_flags(parser: argparse.ArgumentParser) -> None:
    _one_job(parser)
    parser.add_argument("where", choices=(orders.UP, orders.DOWN, orders.FRONT))


def _attention_flags(parser: argparse.ArgumentParser) -> None:
    _one_job(parser)
    parser.add_argument("name", metavar="NAME", help="a backend of `hardware`, or auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do with the queue."""

    run: Callable[[JobStore, argparse.Namespace], Answer]
    help: str
    flags: Callable[[argparse.ArgumentParser], None] = _one_job


ACTIONS: Mapping[str, Action] = {
    "list": Action(run=_list, help="show the jobs, those that wait in their order", flags=lambda _: None),
    "pause": Action(run=_pause, help="begin no job, or leave one job out", flags=_job_or_all),
    "resume": Action(run=_resume, help="go on with the queue, or with a paused job", flags=_job_or_all),
    "stop": Action(run=_stop, help="end jobs; what is finished of them becomes a video", flags=_stop_flags),
    "retry": Action(run=_retry, help="put a failed or stopped job back", flags=_retry_flags),
    "copy": Action(run=_copy, help="queue the same job once more"),
    "move": Action(run=_move, help="change the order of jobs that wait", flags=_move_flags),
    "attention": Action(
        run=_attention, help="another attention for a job, from its next window on", flags=_attention_flags
    ),
}
