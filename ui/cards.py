"""Jobs as HTML: the live strip, the queue, the result. Everything that people or files wrote is escaped."""

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ui.remedies import remedy_buttons
from ui.texts import say, say_or
from ui.texts.notes import in_language
from ui.timeline import timeline
from wanvideo.jobs.job import FAILED, QUEUED, RUNNING, Job


def card(title: str, body: str, kind: str = "") -> str:
    """A titled box; `body` is HTML."""
    return f"<section class='card {kind}'><h3>{escape(title)}</h3>{body}</section>"


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Text cells in rows, with an optional head."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    scroll = "<div class='scroll'><table>{}<tbody>{}</tbody></table></div>"
    return scroll.format(f"<thead><tr>{top}</tr></thead>" if top else "", body)


def duration(seconds: float) -> str:
    """0.21 s, 12.3 s, 4 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return say("seconds_short", seconds=f"{seconds:.{2 if seconds < 1 else 1}f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("minutes_short", minutes=minutes, seconds=f"{rest:02d}")
    return say("hours_short", hours=minutes // 60, minutes=f"{minutes % 60:02d}")


def as_sentence(text: str) -> str:
    """In the visitor's language; with a capital, unless the first word is the name of a field."""
    text = in_language(text)
    first = text.partition(" ")[0]
    return text if "_" in first else text[:1].upper() + text[1:]


def running_job(jobs: Iterable[Job]) -> Job | None:
    """The job that is being made."""
    return next((job for job in jobs if job.state == RUNNING), None)


def live_card(jobs: Sequence[Job]) -> str:
    """Stage, window, step, pace and the latest picture of the running job."""
    job, ended = running_job(jobs), _last_ended(jobs)
    if job is None:
        waiting = any(job.state == QUEUED for job in jobs)
        key = "live_waiting" if waiting else "live_idle"
        return _strip(
            say(key),
            f"<p class='hint'>{say(f'{key}_note')}</p>",
            kind="busy" if waiting else "idle",
            ended=ended,
        )
    shown = job.progress
    stage = str(shown.get("stage") or "prepare")
    doing = in_language(shown.get("message") or "") or _stage_name(stage)
    title = say("stopping") if job.stop_requested else doing
    facts = " · ".join(_live_facts(job))
    percent = 100 * (shown.get("fraction") or 0)
    body = f"<div class='bar'><i style='width:{percent:.1f}%'></i></div><p class='facts'>{facts}</p>"
    body += "".join(f"<p class='hint'>{escape(as_sentence(note))}</p>" for note in job.notes)
    return _strip(title, body, _picture(job.preview), "busy", title_of(job), ended)


def _last_ended(jobs: Sequence[Job]) -> str:
    """Names the end of a job, so that the page hears of a new one."""
    newest = max((job for job in jobs if job.ended), key=lambda job: job.ended or 0, default=None)
    return f"{newest.id}-{newest.ended:.0f}" if newest else "none"


def _strip(title: str, body: str, picture: str = "", kind: str = "", head: str = "", ended: str = "") -> str:
    small = f"<span class='job'>{escape(head)}</span>" if head else ""
    return (
        f"<section class='card live {kind}' data-ended='{ended}'>{picture}<div class='live-text'>"
        f"<h3><span class='dot'></span>{escape(title)}{small}</h3>{body}</div></section>"
    )


def _stage_name(stage: str) -> str:
    return say_or(f"stage_{stage}", stage.replace("_", " ").capitalize())


def _live_facts(job: Job) -> list[str]:
    shown = job.progress
    facts = []
    if shown.get("windows", 1) > 1:
        facts.append(say("live_window", window=shown["window"] + 1, windows=shown["windows"]))
    if shown.get("steps"):
        facts.append(say("live_step", step=shown["step"], steps=shown["steps"]))
    if shown.get("seconds_per_step"):
        facts.append(say("live_pace", seconds=duration(shown["seconds_per_step"])))
    if job.started:
        facts.append(say("live_elapsed", seconds=duration(time.time() - job.started)))
    if shown.get("eta"):
        facts.append(say("live_eta", seconds=duration(shown["eta"])))
    return facts


def _picture(preview: str | None) -> str:
    if preview is None:
        return ""
    try:
        data = base64.b64encode(Path(preview).read_bytes()).decode()
    except OSError:  # not there, or on Windows just being replaced
        return ""
    return f"<img class='preview' alt='' src='data:image/jpeg;base64,{data}'>"


def has_card(job: Job) -> bool:
    """Whether there is something to show: a video, a part of one, or the reason why there is none."""
    return job.state == FAILED or bool(job.result.get("output"))


def title_of(job: Job) -> str:
    """The job's number and task."""
    task = job.request.get("task", "talk")
    return f"#{job.id} {say(f'task_{task}')}"


def subtitle_of(job: Job) -> str:
    """Its prompt, else the name of its picture."""
    return str(job.request.get("prompt") or Path(str(job.request.get("image") or "")).name)


def result_card(job: Job | None) -> str:
    """Settings, notes and times of a finished job, or the sentence of a failed one."""
    if job is None:
        return card(say("result"), f"<p class='hint'>{say('result_none')}</p>", "result")
    if job.state == FAILED:
        error = escape(as_sentence(job.error))
        told = f"<p>{error}</p><p class='hint'>{escape(title_of(job))}</p>"
        return card(say("failed_title"), told + remedy_buttons(job), "error")
    result = job.result
    notes = "".join(f"<li>{escape(in_language(note))}</li>" for note in result.get("notes", ()))
    seconds = result.get("seconds")
    made = say("result_part") if seconds is None else say("result_seconds", seconds=duration(seconds))
    file = f"<p class='file'><code>{escape(Path(result['output']).name)}</code></p>"
    body = f"<p class='hint'>{escape(title_of(job))} · {made}</p>" + (
        f"<ul class='notes'>{notes}</ul>" if notes else ""
    )
    quality = _quality(result) + remedy_buttons(job)
    told = quality + timeline(job) + _settings(result) + _stages(result)
    return card(say("result"), body + file + told, "result")


def _quality(result: Mapping[str, Any]) -> str:
    """Each figure of the quality report beside its limit; what is past it is red, with the fix."""
    figures = [figure for figure in result.get("quality", {}).values() if figure["worst"] is not None]
    if not figures:
        return ""
    rows = "".join(
        f"<tr class='{'past' if figure['past'] else ''}'><td>{escape(as_sentence(figure['what']))}</td>"
        f"<td>{figure['worst']:.3g} {escape(in_language(figure['unit']))}</td>"
        f"<td>{say('quality_limit', limit=format(figure['limit'], '.3g'))}</td></tr>"
        for figure in figures
    )
    fixes = "".join(f"<li>{escape(as_sentence(figure['fix']))}</li>" for figure in figures if figure["past"])
    title = say("quality_past") if fixes else say("quality_fine")
    is_open = " open" if fixes else ""
    told = f"<ul class='notes'>{fixes}</ul>" if fixes else ""
    inside = f"<div class='scroll'><table>{rows}</table></div>{told}"
    return f"<details class='quality'{is_open}><summary>{title}</summary>{inside}</details>"


def _settings(result: Mapping[str, Any]) -> str:
    effective = result.get("effective", {})
    rows = [(effective_name(name), _value(value)) for name, value in effective.items()]
    return f"<details><summary>{say('result_settings')}</summary>{table(rows)}</details>" if rows else ""


def effective_name(name: str) -> str:
    """What the page calls a setting that really ran."""
    return say_or(f"label_{name}", name.replace("_", " "))


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _stages(result: Mapping[str, Any]) -> str:
    """A bar per stage, as long as its share of the time."""
    stages = result.get("stages", {})
    total = sum(stages.values()) or 1.0
    bars = "".join(
        f"<li><span>{escape(_stage_name(name))}</span><i style='width:{45 * seconds / total:.1f}%'></i>"
        f"<small>{duration(seconds)}</small></li>"
        for name, seconds in stages.items()
    )
    return (
        f"<details open><summary>{say('result_stages')}</summary><ul class='stages'>{bars}</ul></details>"
        if bars
        else ""
    )
