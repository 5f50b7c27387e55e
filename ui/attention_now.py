"""Another attention for the running job, from its next window on: what there is to choose, and the order."""

from html import escape
from typing import Any

import gradio as gr

from ui.fields import TABLE, name_choices
from ui.parts import Page
from ui.restore import toast
from ui.texts import say
from ui.texts.notes import in_language
from wanvideo.errors import UserError
from wanvideo.fallback import obstacle
from wanvideo.jobs.job import Job
from wanvideo.jobs.orders import switch_attention
from wanvideo.proof.kept import read_proofs
from wanvideo.proof.suspects import with_suspects
from wanvideo.registry import attention_backends


def attention_list(page: Page, job: Job | None) -> str:
    """The backends for a running job that has windows to come, else nothing. What can't run here stays in
    sight, with the reason, and can't be chosen.
    """
    if job is None or not _has_next_window(job):
        return ""
    chosen = job.attention or job.ways.get("attention") or TABLE["attention"].default
    reasons = _reasons(page)
    options = "".join(
        _option(name, words, reasons.get(name), is_chosen=name == chosen)
        for words, name in name_choices("attention")
    )
    return (
        f"<label class='attention-now'><span>{say('live_attention')}</span>"
        f"<select data-job='{job.id}'>{options}</select></label>"
    )


def _has_next_window(job: Job) -> bool:
    shown = job.progress
    leaves = job.stop_requested or job.pause_requested
    return not leaves and bool(shown.get("windows", 1) - shown.get("window", 0) > 1)


def _option(name: str, words: str, reason: str | None, *, is_chosen: bool) -> str:
    state = " selected" if is_chosen else " disabled" if reason else ""
    why = f": {in_language(reason)}" if reason else ""
    return f"<option value='{escape(name)}'{state}>{escape(words + why)}</option>"


def _reasons(page: Page) -> dict[str, str]:
    """Why a backend can't run here, by name; those that can are left out."""
    proofs = with_suspects(read_proofs(page.machine), page.store.suspects()).attention
    found = {row.name: obstacle(row, page.machine, proofs) for row in attention_backends().values()}
    return {name: reason for name, reason in found.items() if reason is not None}


def switch_now(page: Page, event: Any) -> None:
    """Hand the choice to the queue. A job that has moved on in the meantime is told."""
    name = str(event.name)
    try:
        switch_attention(page.store, int(event.job), name)
    except UserError as error:
        toast(gr.Warning, str(error))
        return
    toast(gr.Info, say("live_attention_set", name=name))
