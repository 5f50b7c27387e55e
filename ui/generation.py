"""The Generation tab: what to make on the left, what is being made and what came out on the right."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import gradio as gr
from gradio.blocks import BlockContext

from ui.cards import live_card, result_card
from ui.examples import example_rows
from ui.fields import START_TASK, Widget, build_field, is_for
from ui.queue import queue_card
from ui.texts import say
from wanvideo.request import TASKS

Widgets: TypeAlias = dict[str, tuple[Widget, ...]]
TaskBlock: TypeAlias = tuple[BlockContext, tuple[str, ...]]

SIZE = ("seconds", "width", "height")
SAMPLING = (
    ("sampler", "num_inference_steps", "flow_shift"),
    ("guidance_scale", "audio_guidance_scale"),
    ("window_frames", "motion_frames", "color_correction"),
    ("apg", "separate_vocals"),
)
EXPERT = (("num_frames", "fps", "riflex_freq_index"), ("start_step", "end_step"))
EXAMPLES = Path(__file__).parents[1] / "examples"
DICE = Path(__file__).with_name("dice.svg")
KEYS = Path(__file__).with_name("keys.js")

# A click on an element with data-action becomes the event {action, job}.
ROW_CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-action]');
  if (target) trigger('click', {action: target.dataset.action, job: Number(target.dataset.job)});
});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationTab:
    """What events read or write. `task_blocks`: blocks shown only for the tasks named beside them."""

    widgets: Mapping[str, tuple[Widget, ...]]
    task_blocks: tuple[TaskBlock, ...]
    second: gr.Accordion
    pair: BlockContext
    task_note: gr.HTML
    source_note: gr.HTML
    examples: gr.Dataset | None
    generate: gr.Button
    dice: gr.Button
    forecast: gr.HTML
    live: gr.HTML
    stop: gr.Button
    so_far: gr.Video
    video: gr.Video
    result: gr.HTML
    queue: gr.HTML
    hold: gr.Button


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    task_note: gr.HTML
    source_note: gr.HTML
    examples: gr.Dataset | None
    task_blocks: tuple[TaskBlock, ...]
    second: gr.Accordion
    pair: BlockContext


def build_generation() -> GenerationTab:
    """Place the tab's widgets in the surrounding Blocks."""
    widgets: Widgets = {}
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=340):
            inputs = _build_inputs(widgets)
            widgets["prompt"] = build_field("prompt")
            dice = _build_size(widgets)
            rows = _build_sampling(widgets)
            generate = gr.Button(say("generate"), variant="primary", size="lg", elem_id="generate")
            forecast = gr.HTML(elem_id="forecast")
        with gr.Column(scale=6, min_width=340):
            live = gr.HTML(live_card([]), js_on_load=KEYS.read_text("utf-8"), elem_id="live")
            stop = gr.Button(say("stop"), variant="stop", size="sm", visible=False, elem_id="stop")
            so_far = gr.Video(
                visible=False, interactive=False, label=say("so_far"), elem_id="so-far", height=260
            )
            video = gr.Video(visible=False, interactive=False, show_label=False, elem_id="video", height=420)
            result = gr.HTML(result_card(None), elem_id="result")
            queue = gr.HTML(queue_card([], None), js_on_load=ROW_CLICKS, elem_id="queue")
            hold = gr.Button(say("queue_hold"), size="sm", elem_id="hold")
    return GenerationTab(
        widgets=widgets,
        task_blocks=(*inputs.task_blocks, *rows),
        second=inputs.second,
        pair=inputs.pair,
        task_note=inputs.task_note,
        source_note=inputs.source_note,
        examples=inputs.examples,
        generate=generate,
        dice=dice,
        forecast=forecast,
        live=live,
        stop=stop,
        so_far=so_far,
        video=video,
        result=result,
        queue=queue,
        hold=hold,
    )


def _build_inputs(widgets: Widgets) -> _Inputs:
    widgets["task"] = build_field("task")
    task_note = gr.HTML(note_html("task", START_TASK), elem_id="task-note")
    with gr.Row(equal_height=True) as pictures:
        widgets["image"] = build_field("image")
        widgets["end_image"] = build_field("end_image")
        widgets["audio"] = build_field("audio")
        widgets["audio"][0].render()
    examples = _build_examples()
    with gr.Accordion(say("second_speaker"), open=False) as second:
        widgets["audio"][1].render()
        with gr.Group(visible=False) as pair:
            widgets["audio_order"] = build_field("audio_order")
            widgets["speaker_boxes"] = build_field("speaker_boxes")
    with gr.Accordion(say("source_video"), open=False):
        source_note = gr.HTML(note_html("source", START_TASK), elem_id="source-note")
        widgets["video"] = build_field("video")
        widgets["denoise_strength"] = build_field("denoise_strength")
    shown: tuple[tuple[BlockContext, str], ...] = ((pictures, "image"), (second, "audio"))
    return _Inputs(
        task_note=task_note,
        source_note=source_note,
        examples=examples,
        task_blocks=tuple(
            (block, tuple(task for task in TASKS if is_for(name, task))) for block, name in shown
        ),
        second=second,
        pair=pair,
    )


def note_html(about: str, task: str) -> str:
    """One line that says what the task, or the source video in it, does."""
    return f"<p class='hint'>{say(f'{about}_note_{task}')}</p>"


def _build_examples() -> gr.Dataset | None:
    """Thumbnails of the bundled pictures; None where none is bundled."""
    pictures = [[row[0]] for row in example_rows(EXAMPLES)]
    if not pictures:
        return None
    shown = [gr.Image(visible=False, height=72)]
    return gr.Dataset(
        components=shown, samples=pictures, type="index", label=say("examples"), elem_id="examples"
    )


def _build_size(widgets: Widgets) -> gr.Button:
    with gr.Row():
        for name in SIZE:
            widgets[name] = build_field(name)
    with gr.Row(elem_classes="seed-row"):
        widgets["seed"] = build_field("seed")
        dice = gr.Button("", icon=str(DICE), size="sm", min_width=44, scale=0, elem_id="dice")
        widgets["count"] = build_field("count")
    return dice


def _build_sampling(widgets: Widgets) -> tuple[TaskBlock, ...]:
    with gr.Accordion(say("sampling"), open=False):
        widgets["negative_prompt"] = build_field("negative_prompt")
        blocks = _build_rows(widgets, SAMPLING)
        with gr.Accordion(say("expert"), open=False):
            return (*blocks, *_build_rows(widgets, EXPERT))


def _build_rows(widgets: Widgets, rows: tuple[tuple[str, ...], ...]) -> list[TaskBlock]:
    """Place the fields; returns the rows that some tasks have no field of."""
    blocks: list[TaskBlock] = []
    for names in rows:
        tasks = tuple(task for task in TASKS if any(is_for(name, task) for name in names))
        with gr.Row(visible=START_TASK in tasks) as row:
            for name in names:
                widgets[name] = build_field(name)
        if tasks != TASKS:
            blocks.append((row, tasks))
    return blocks
