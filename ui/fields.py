"""The field tables as widgets, and the widgets' values as settings again. A new field needs no line here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import gradio as gr
from gradio.components import Component
from gradio.data_classes import ImageData

from ui.texts import say, say_or
from wanvideo.fields import Row
from wanvideo.registry import AttentionBackend, QuantizationMode, attention_backends, quantization_modes
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS, TASKS
from wanvideo.sampling.samplers import SAMPLERS, Sampler

TABLE: Mapping[str, Row] = {**REQUEST_FIELDS, **OPTION_FIELDS}

HIDDEN: Mapping[str, str] = {
    "output_dir": "a start flag: who may open the page may not write elsewhere",
    "gpus": "a start flag: the queue is everyone's",
    "models_dir": "a start flag: who may open the page may not read elsewhere",
}

START_TASK: str = TABLE["task"].default
PROMPT_LINES = {"prompt": 3, "negative_prompt": 2}

MOST_LORAS = 4  # rows of the page; a request can have more
MOST_SPEAKERS = 2
OFF = "off"
_AUTO_CHOICES: Mapping[str, tuple[str, ...]] = {
    "blocks_to_swap": ("auto", OFF, "10", "20", "40"),
    "vram_threshold_percent": ("auto", "50", "70", "80", "90"),
}
_LABELS: Mapping[type[object], str] = {
    Row: "label",
    AttentionBackend: "attention",
    QuantizationMode: "quantization",
    Sampler: "sampler",
}
VIDEOS = ("video", "extends")  # of the fields that are files
UPLOAD_HEIGHT = 280  # that of an audio upload

Widget: TypeAlias = Any  # a Component; gradio adds the events of each class at run time
Values: TypeAlias = Mapping[Component, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Field name -> its widgets; a field with several files has one widget for each."""

    widgets: Mapping[str, tuple[Widget, ...]]

    @property
    def components(self) -> set[Widget]:
        """Every widget, as the `inputs` of an event."""
        return {widget for widgets in self.widgets.values() for widget in widgets}

    def __getitem__(self, name: str) -> Widget:
        return self.widgets[name][0]


def build_field(name: str) -> tuple[Widget, ...]:
    """The widgets of a field, placed where the caller's layout stands."""
    row = TABLE[name]
    shared: dict[str, Any] = {
        "label": label_of(row),
        "info": say_or(f"help_{name}", row.help),
        "visible": is_for(name, START_TASK),
    }
    build = _BUILDERS_BY_NAME.get(name) or _BUILDERS[row.kind]
    return build(row, shared)


def collect(form: Form, values: Values) -> dict[str, Any]:
    """Settings from the widgets: empty ones and those that the task does not have are left out."""
    task = values[form["task"]]
    settings = {}
    for name, widgets in form.widgets.items():
        row = TABLE[name]
        given = [values[widget] for widget in widgets if values[widget] not in (None, "")]
        if row.kind == "loras":
            given = _chosen_loras([values[widget] for widget in widgets])
        if given and (not row.tasks or task in row.tasks):
            settings[name] = given if row.kind in ("paths", "loras") else given[0]
    return settings


def shown_values(name: str, value: Any) -> list[Any]:
    """A field's value, as the engine has it, for each of its widgets; the way back from `collect`."""
    row = TABLE[name]
    if row.kind == "loras":
        pairs = [(lora.file, _in_text(lora.strength)) for lora in value or ()]
        rows = (pairs + [("", "1")] * MOST_LORAS)[:MOST_LORAS]
        return [part for pair in rows for part in pair]
    if row.kind == "paths":
        return [*(value or ()), None, None][:MOST_SPEAKERS]
    if row.kind == "boxes":
        return ["; ".join(",".join(map(_in_text, box)) for box in value or ())]
    if name == "task":
        return [value, value]
    if row.kind == "auto_int":
        return [OFF if value == 0 and OFF in _AUTO_CHOICES[name] else str(value)]
    is_typed = row.kind in ("int", "float", "floats") and row.default is None
    return [_in_text(value) if is_typed else "" if value is None and row.kind != "path" else value]


def _in_text(value: Any) -> str:
    """Numbers as they would be typed; nothing for None."""
    if isinstance(value, tuple):
        return ", ".join(map(_in_text, value))
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _chosen_loras(values: list[Any]) -> list[dict[str, Any]]:
    """Pairs of (name, strength), less those without a name; an empty strength is 1."""
    pairs = zip(values[::2], values[1::2], strict=True)
    return [{"file": name, "strength": strength or "1"} for name, strength in pairs if name]


def name_choices(name: str) -> list[tuple[str, str]]:
    """(shown, value) for a field whose choices are a table of the engine; automatic first."""
    tables: Mapping[str, Mapping[str, Any]] = {
        "sampler": SAMPLERS,
        "attention": attention_backends(),
        "quantization": quantization_modes(),
    }
    automatic = (say("choose_automatic"), TABLE[name].default or "")
    return [automatic, *((f"{row.name} · {label_of(row)}", row.name) for row in tables[name].values())]


def label_of(row: Row | AttentionBackend | QuantizationMode | Sampler) -> str:
    """What the page calls a field, an attention, a quantization or a sampler."""
    return say_or(f"{_LABELS[type(row)]}_{row.name}", row.label)


def is_for(name: str, task: str) -> bool:
    """Whether the task has the field."""
    return not TABLE[name].tasks or task in TABLE[name].tasks


def _text(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    lines = PROMPT_LINES.get(row.name, 1)
    placeholder = say("automatic") if row.default is None else say_or(f"{row.name}_{START_TASK}", "")
    value = row.default if isinstance(row.default, str) else None
    return (gr.Textbox(value=value, lines=lines, max_lines=8, placeholder=placeholder, **shared),)


def _number(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    """A number field can't stay empty in the browser, so one that may be is a text field."""
    if row.default is None:
        return (gr.Textbox(placeholder=say("automatic"), min_width=110, **shared),)
    precision, step = (0, 1) if row.kind == "int" else (None, 0.1)
    return (gr.Number(value=row.default, precision=precision, step=step, min_width=110, **shared),)


def _auto_number(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    """A word or any number."""
    choices = [(say_or(f"auto_int_{choice}", choice), choice) for choice in _AUTO_CHOICES[row.name]]
    return (gr.Dropdown(choices, value=row.default, allow_custom_value=True, min_width=110, **shared),)


def _switch(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    return (gr.Checkbox(value=row.default, **shared),)


def _choice(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    choices = [(say_or(f"{row.name}_{choice}", choice), choice) for choice in row.choices]
    return (gr.Dropdown(choices, value=row.default, **shared),)


def _task(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:  # noqa: ARG001 - tabs need no label
    """The switch, and the task whose form the page holds (see `ui/forms.py`)."""
    choices = [(say(f"task_{task}"), task) for task in TASKS]
    switch = gr.Radio(choices, value=START_TASK, show_label=False, container=False, elem_classes="segments")
    return switch, gr.Textbox(visible="hidden", elem_id="held-task")


def _model(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:  # noqa: ARG001 - filled when the page opens
    choices = [(say("model_automatic"), "")]
    return (gr.Dropdown(choices, value="", elem_id="model", **shared),)


def _name(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    return (gr.Dropdown(name_choices(row.name), value=row.default or "", **shared),)


def _path(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:
    del shared["info"]  # uploads have no line for it
    if row.name in VIDEOS:
        return (gr.Video(height=UPLOAD_HEIGHT, sources=["upload"], **shared),)
    picture = gr.Image(type="filepath", height=UPLOAD_HEIGHT, sources=["upload", "clipboard"], **shared)
    # The upload as it was, so that the engine's own check names a bad one. On the instance, because gradio
    # writes a stub file beside every module that has a subclass.
    picture.preprocess = _upload_path  # type: ignore[method-assign]
    return (picture,)


def _upload_path(payload: ImageData | None) -> str | None:
    return payload.path if payload else None


def _paths(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:  # noqa: ARG001 - labels of its own
    """One widget per speaker, not yet placed: the layout calls `render` where each belongs."""
    labels = (say("speech_first"), say("speech_second"))
    audio = partial(gr.Audio, type="filepath", editable=False, buttons=["download"], render=False)
    return tuple(audio(label=label) for label in labels)


def _loras(row: Row, shared: dict[str, Any]) -> tuple[Widget, ...]:  # noqa: ARG001 - labels of its own
    """A name and a strength for each; the names are filled in when the page opens."""
    widgets: list[Widget] = []
    for _ in range(MOST_LORAS):
        with gr.Row():
            widgets.append(gr.Dropdown([(say("lora_none"), "")], value="", label=say("lora"), scale=3))
            widgets.append(gr.Textbox(value="1", label=say("lora_strength"), min_width=110, scale=1))
    return tuple(widgets)


_BUILDERS_BY_NAME = {"task": _task, "model": _model}
_BUILDERS = {
    "text": _text,
    "floats": _text,
    "boxes": _text,
    "int": _number,
    "float": _number,
    "auto_int": _auto_number,
    "bool": _switch,
    "choice": _choice,
    "name": _name,
    "path": _path,
    "paths": _paths,
    "loras": _loras,
}
