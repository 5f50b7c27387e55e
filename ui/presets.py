"""The preset picker: the one for this machine first, what each fills in, and presets of one's own."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ui.cards import as_sentence, table
from ui.fields import START_TASK, TABLE, is_for, label_of
from ui.language import current_language
from ui.texts import say
from ui.texts.notes import in_language
from wanvideo.downloads.added_folders import config_folder
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO
from wanvideo.fields import LoraChoice
from wanvideo.hardware import Hardware
from wanvideo.lora_plan import needed_file
from wanvideo.presets import GROUPS, Preset, list_presets, load_preset, preset_names
from wanvideo.recommended import recommended_preset


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetPicker:
    """The widgets that events read or write."""

    choice: gr.Dropdown
    apply: gr.Button
    card: gr.HTML
    name: gr.Textbox
    save: gr.Button
    delete: gr.Button


def build_picker(machine: Hardware) -> PresetPicker:
    """Place the picker in the surrounding Blocks; a person's own presets come when the page opens."""
    first = recommended_preset(machine, START_TASK).name
    choices = preset_choices(list_presets(), machine, START_TASK)
    with gr.Column(elem_classes="card picker"):
        choice = gr.Dropdown(
            choices, value=first, label=say("preset"), info=say("preset_help"), elem_id="preset"
        )
        card = gr.HTML(preset_card(load_preset(first), machine, START_TASK), elem_id="preset-card")
        apply = gr.Button(say("preset_apply"), variant="primary", size="md", elem_id="apply")
    with gr.Accordion(say("preset_own"), open=False, elem_id="my-presets"):
        name = gr.Textbox(label=say("preset_name"), info=say("preset_name_help"), max_lines=1)
        with gr.Row():
            save = gr.Button(say("preset_save"), size="sm", elem_id="preset-save")
            delete = gr.Button(say("preset_delete"), size="sm", interactive=False, elem_id="preset-delete")
    return PresetPicker(choice=choice, apply=apply, card=card, name=name, save=save, delete=delete)


def own_folder() -> Path:
    """Where a person's own presets are kept, beside the list of added folders."""
    return config_folder() / "presets"


def find_preset(name: str) -> Preset:
    """A bundled preset or one of the person's own. Raises UserError."""
    return load_preset(name, own_folder()) if is_own(name) else load_preset(name)


def every_preset() -> tuple[list[Preset], list[str]]:
    """(bundled ones and the person's own, a sentence for each of the own files that is faulty)."""
    found, faults = list_presets(), []
    for name in preset_names(own_folder()):
        try:
            found.append(load_preset(name, own_folder()))
        except UserError as error:
            faults.append(as_sentence(str(error)))
    return found, faults


def preset_choices(presets: Iterable[Preset], machine: Hardware, task: str) -> list[tuple[str, str]]:
    """(shown, name) of those for the task: the recommended one, then group by group."""
    best = recommended_preset(machine, task).name
    offered = [preset for preset in presets if preset.is_for(task)]
    offered.sort(key=lambda preset: (preset.name != best, GROUPS.index(preset.group), preset.tier or 0))
    return [(_shown(preset, is_best=preset.name == best), preset.name) for preset in offered]


def _shown(preset: Preset, *, is_best: bool) -> str:
    group = say("preset_best") if is_best else say(f"preset_group_{preset.group}")
    return f"{group} · {preset_words(preset)['label']}"


def preset_words(preset: Preset) -> dict[str, str]:
    """Label, description and hint in the visitor's language, as far as it has them."""
    english = {"label": preset.label, "description": preset.description, "hint": preset.hint}
    return {**english, **preset.words.get(current_language(), {})}


def preset_card(preset: Preset, machine: Hardware, task: str) -> str:
    """What it is for, why it is recommended, which file it needs and what it fills in."""
    best = recommended_preset(machine, task)
    words = preset_words(preset)
    lines = [words["description"], words["hint"]]
    body = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    if preset.name == best.name:
        reason = say("preset_reason", reason=in_language(best.reason))
        body = f"<p class='reason'>{escape(reason)}</p>{body}"
    file = needed_file(task, preset.named(task).get("num_inference_steps"))
    if file is not None:
        body += f"<p class='needs'>{escape(say('preset_needs', file=file.file_name))}</p>"
    fills = f"<details><summary>{say('preset_fills')}</summary>{_filled(preset, task)}</details>"
    return f"<div class='preset'>{body}{fills}</div>"


def _filled(preset: Preset, task: str) -> str:
    """Label and value of each field it names, as the page has them."""
    named = preset.named(task).items()
    return table((label_of(TABLE[name]), _in_words(value)) for name, value in named if is_for(name, task))


def _in_words(value: Any) -> str:
    if value in (None, AUTO):
        return say("automatic")
    if isinstance(value, bool):
        return say("switch_on") if value else say("switch_off")
    if isinstance(value, LoraChoice):
        return value.file
    if isinstance(value, tuple):
        return ", ".join(map(_in_words, value)) or say("lora_none")
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_own(name: str) -> bool:
    """Whether the person made it, so that it can be deleted."""
    return name in preset_names(own_folder())
