"""What the Generate button would do, in one line and as a plan, asked of the planner at every change."""

from html import escape
from typing import Any, TypeAlias

import gradio as gr

from ui.cards import as_sentence, duration
from ui.fields import TABLE, Form, Values, Widget, collect
from ui.model_settings import GIGA, plan_card
from ui.negative import negative_note
from ui.parts import Page
from ui.texts import say
from ui.texts.notes import in_language
from ui.waveform import waveform
from wanvideo.defaults import SOURCES
from wanvideo.errors import UserError
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.wording import TOLD_SECONDS

Updates: TypeAlias = dict[Any, Any]


def automatic_widgets(form: Form) -> list[Widget]:
    """Text fields that the planner fills in when they are empty."""
    return [
        form[name] for name in form.widgets if TABLE[name].default is None and type(form[name]) is gr.Textbox
    ]


def show_forecast(page: Page, values: Values) -> Updates:
    """One line on what the button would do, the plan in full, and what the empty fields will be."""
    needed, settings = missing_input(page, values), collect(page.form, values)
    speech = {page.generation.waveform: waveform(settings, None)}
    if needed:
        line = f"<p class='hint'>{needed}</p>"
        return {**speech, page.generation.forecast: line, page.models.plan: plan_card(None)}
    try:
        request, options = page.read(values)
        plan = prepare(request, options, suspects=page.store.suspects())[0]
    except UserError as error:
        problem = f"<p class='problem'>{escape(as_sentence(str(error)))}</p>"
        return {**speech, page.generation.forecast: problem}
    hints = {
        widget: gr.update(placeholder=say("automatic_value", value=value))
        for name, value in decided_values(plan).items()
        if value and (widget := page.form[name]) in automatic_widgets(page.form)
    }
    return {
        page.generation.forecast: forecast_html(plan, request.count),
        page.models.plan: plan_card(plan),
        page.generation.negative.note: negative_note(plan),
        page.generation.waveform: waveform(settings, plan),
        **hints,
    }


def decided_values(plan: GenerationPlan) -> dict[str, str]:
    """What the planner chose for the fields that may stay empty, as it would be typed."""
    settings = plan.settings
    return {
        "width": str(plan.width),
        "height": str(plan.height),
        "seconds": f"{plan.total_frames / settings.fps:.2f}",
        "num_frames": str(plan.total_frames),
        "fps": f"{settings.fps:g}",
        "num_inference_steps": str(settings.num_inference_steps),
        "guidance_scale": ", ".join(f"{scale:g}" for scale in dict.fromkeys(settings.guidance_scale)),
        "audio_guidance_scale": f"{settings.audio_guidance_scale:g}",
        "flow_shift": f"{settings.flow_shift:g}",
        "window_frames": str(plan.windows[0].frames),
        "motion_frames": str(settings.motion_frames),
        "end_step": str(settings.steps.stop),
        "negative_prompt": settings.negative_prompt,
    }


def missing_input(page: Page, values: Values) -> str:
    """What a newcomer has to add before there is anything to plan."""
    settings = collect(page.form, values)
    sources = SOURCES[settings["task"]]
    needed = (*sources, "extends") if sources else ("prompt",)
    return "" if any(map(settings.get, needed)) else say(f"needs_{settings['task']}")


def forecast_html(plan: GenerationPlan, count: int) -> str:
    """Length, windows, size, steps and model; memory, disk and time; then the planner's notes."""
    settings, windows = plan.settings, len(plan.windows)
    seconds = say("seconds_short", seconds=f"{plan.total_frames / settings.fps:.1f}")
    parts = [
        say("forecast_frames", seconds=seconds, frames=plan.total_frames, fps=f"{settings.fps:g}"),
        say("forecast_windows", windows=windows) if windows > 1 else say("forecast_window"),
        say("forecast_size", width=plan.width, height=plan.height),
        say("forecast_steps", steps=len(settings.steps), passes=len(settings.steps) * plan.passes_per_step),
        plan.models.profile.label,
    ]
    if count > 1:
        parts.insert(0, say("forecast_videos", count=count))
    notes = "".join(f"<li>{escape(in_language(note))}</li>" for note in plan.notes)
    lines = "".join(
        f"<p class='facts'>{escape(' · '.join(line))}</p>" for line in (parts, _needs(plan, count)) if line
    )
    return lines + (f"<ul class='notes'>{notes}</ul>" if notes else "")


def _needs(plan: GenerationPlan, count: int) -> list[str]:
    """What `count` such videos take: memory at the peak, disk and time; what is not foreseen is left out."""
    forecast = plan.forecast
    sizes = {
        "forecast_card": forecast.device_bytes,
        "forecast_host": 0 if forecast.device_bytes else forecast.host_bytes,
        "forecast_disk": forecast.disk_bytes * count,
    }
    parts = [say(key, size=_size(amount)) for key, amount in sizes.items() if amount]
    if forecast.seconds:
        parts.append(say("forecast_time", seconds=roughly(forecast.seconds * count)))
        if not forecast.calibrated:
            parts.append(say("forecast_guess"))
    if forecast.compile_seconds >= TOLD_SECONDS:
        parts.append(say("forecast_compile", seconds=roughly(forecast.compile_seconds)))
    return parts


def roughly(seconds: float) -> str:
    """A forecast knows no tenths of seconds."""
    if seconds < 60:
        return say("seconds_short", seconds=max(1, round(seconds)))
    return duration(seconds)


def _size(amount: int) -> str:
    """GB as cards are sold, 2**30 bytes."""
    return f"{amount / GIGA:.1f} GB" if amount >= GIGA / 10 else f"{max(1, amount >> 20)} MB"
