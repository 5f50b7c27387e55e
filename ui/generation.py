"""The Generation tab: what to make on the left, what is being made and what came out on the right."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from gradio.blocks import BlockContext

from ui.batch import BatchPart, build_batch
from ui.boxes import build_boxes
from ui.cards import live_card, result_card
from ui.examples import example_rows
from ui.fields import START_TASK, Widget, build_field, is_for
from ui.negative import NegativePart, build_negative
from ui.queue import queue_card
from ui.queue_line import build_queue_line
from ui.sizes import build_sizes
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
    ("audio_start",),
)
EXPERT = (("num_frames", "fps", "riflex_freq_index"), ("start_step", "end_step"))
EXAMPLES = Path(__file__).parents[1] / "examples"
DICE = Path(__file__).with_name("dice.svg")
KEYS = Path(__file__).with_name("keys.js")
TYPING = Path(__file__).with_name("typing.js")

# A click on an element with data-action becomes the event {action, job}.
ROW_CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-action]');
  if (target) trigger('click', {action: target.dataset.action, job: Number(target.dataset.job)});
});
"""


# A choice in a list becomes the event {job, name}.
CHOICES = """
element.addEventListener('change', (event) => {
  const list = event.target.closest('select');
  if (list) trigger('click', {job: Number(list.dataset.job), name: list.value});
});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultActions:
    """What can be done with the video that is shown; `place` is shown with it."""

    place: BlockContext
    last_frame: gr.Button
    extend: gr.Button
    reuse: gr.Button
    download: gr.DownloadButton


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationTab:
    """What events read or write. `task_blocks`: blocks shown only for the tasks named beside them."""

    widgets: Mapping[str, tuple[Widget, ...]]
    task_blocks: tuple[TaskBlock, ...]
    second: gr.Accordion
    source: gr.Accordion
    pair: BlockContext
    boxes: gr.HTML
    task_note: gr.HTML
    source_note: gr.HTML
    examples: gr.Dataset | None
    negative: NegativePart
    batch: BatchPart
    reset: gr.Button
    generate: gr.Button
    sizes: gr.Dropdown
    dice: gr.Button
    forecast: gr.HTML
    queue_line: gr.HTML
    waveform: gr.HTML
    live: gr.HTML
    meter: gr.HTML
    attention: gr.HTML
    stop: gr.Button
    so_far: gr.Video
    video: gr.Video
    actions: ResultActions
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
    source: gr.Accordion
    pair: BlockContext
    boxes: gr.HTML
    waveform: gr.HTML


def build_generation() -> GenerationTab:
    """Place the tab's widgets in the surrounding Blocks."""
    widgets: Widgets = {}
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=340):
            inputs = _build_inputs(widgets)
            widgets["prompt"] = build_field("prompt")
            with gr.Row():  # a box of its own
                sizes = build_sizes()
            dice = _build_size(widgets)
            negative, rows = _build_sampling(widgets)
            batch = build_batch()
            generate = gr.Button(say("generate"), variant="primary", size="lg", elem_id="generate")
            line = build_queue_line()
            forecast = gr.HTML(js_on_load=TYPING.read_text("utf-8"), elem_id="forecast")
            reset = gr.Button(say("reset_form"), size="sm", elem_id="reset")
        with gr.Column(scale=6, min_width=340):
            watched = _build_watched()
    return GenerationTab(
        widgets=widgets,
        task_blocks=(*inputs.task_blocks, *rows, (batch.place, _tasks_with("image"))),
        negative=negative,
        batch=batch,
        reset=reset,
        second=inputs.second,
        source=inputs.source,
        pair=inputs.pair,
        boxes=inputs.boxes,
        task_note=inputs.task_note,
        source_note=inputs.source_note,
        examples=inputs.examples,
        generate=generate,
        sizes=sizes,
        dice=dice,
        forecast=forecast,
        queue_line=line,
        waveform=inputs.waveform,
        **watched,
    )


def _build_watched() -> dict[str, Any]:
    """What is being made, what came out, and the queue."""
    live = gr.HTML(live_card([]), js_on_load=KEYS.read_text("utf-8"), elem_id="live")
    meter = gr.HTML(elem_id="meter")
    attention = gr.HTML(js_on_load=CHOICES, elem_id="attention-now")
    stop = gr.Button(say("stop"), variant="stop", size="sm", visible=False, elem_id="stop")
    so_far = gr.Video(visible=False, interactive=False, label=say("so_far"), elem_id="so-far", height=260)
    video = gr.Video(visible=False, interactive=False, show_label=False, elem_id="video", height=420)
    actions = _build_actions()
    result = gr.HTML(result_card(None), js_on_load=ROW_CLICKS, elem_id="result")
    queue = gr.HTML(queue_card([], None), js_on_load=ROW_CLICKS, elem_id="queue")
    hold = gr.Button(say("queue_hold"), size="sm", elem_id="hold")
    return {
        "live": live,
        "meter": meter,
        "attention": attention,
        "stop": stop,
        "so_far": so_far,
        "video": video,
        "actions": actions,
        "result": result,
        "queue": queue,
        "hold": hold,
    }


def _build_actions() -> ResultActions:
    with gr.Row(elem_classes="actions", visible=False, elem_id="result-actions") as place:
        last_frame = gr.Button(say("gallery_last_frame"), size="sm", min_width=190)
        extend = gr.Button(say("extend"), size="sm", min_width=90, elem_id="extend")
        reuse = gr.Button(say("gallery_reuse"), size="sm", min_width=120, elem_id="reuse")
        download = gr.DownloadButton(say("gallery_download"), size="sm", min_width=100)
    return ResultActions(place=place, last_frame=last_frame, extend=extend, reuse=reuse, download=download)


def _build_inputs(widgets: Widgets) -> _Inputs:
    widgets["task"] = build_field("task")
    task_note = gr.HTML(note_html("task", START_TASK), elem_id="task-note")
    with gr.Row(equal_height=True) as pictures:
        widgets["image"] = build_field("image")
        widgets["end_image"] = build_field("end_image")
        widgets["audio"] = build_field("audio")
        widgets["audio"][0].render()
    waveform = gr.HTML(elem_id="waveform")
    examples = _build_examples()
    with gr.Accordion(say("second_speaker"), open=False) as second:
        widgets["audio"][1].render()
        with gr.Group(visible=False) as pair:
            widgets["audio_order"] = build_field("audio_order")
            boxes = build_boxes()
            with gr.Column(elem_id="speaker-boxes"):
                widgets["speaker_boxes"] = build_field("speaker_boxes")
    with gr.Accordion(say("source_video"), open=False) as source:
        source_note = gr.HTML(note_html("source", START_TASK), elem_id="source-note")
        widgets["extends"] = build_field("extends")
        widgets["extends_from"] = build_field("extends_from")
        widgets["video"] = build_field("video")
        widgets["denoise_strength"] = build_field("denoise_strength")
    shown: tuple[tuple[BlockContext, str], ...] = ((pictures, "image"), (second, "audio"))
    return _Inputs(
        task_note=task_note,
        source_note=source_note,
        examples=examples,
        task_blocks=tuple((block, _tasks_with(name)) for block, name in shown),
        second=second,
        source=source,
        pair=pair,
        boxes=boxes,
        waveform=waveform,
    )


def _tasks_with(name: str) -> tuple[str, ...]:
    return tuple(task for task in TASKS if is_for(name, task))


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


def _build_sampling(widgets: Widgets) -> tuple[NegativePart, tuple[TaskBlock, ...]]:
    with gr.Accordion(say("sampling"), open=False):
        negative = build_negative()
        widgets["negative_prompt"] = negative.widgets
        blocks = _build_rows(widgets, SAMPLING)
        with gr.Accordion(say("expert"), open=False):
            return negative, (*blocks, *_build_rows(widgets, EXPERT))


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
