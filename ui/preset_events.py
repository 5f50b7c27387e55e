"""What the preset picker does: fill in the form, save it under a name, delete what was saved."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import gradio as gr

from ui.cards import as_sentence
from ui.fields import Values, collect, is_for, shown_values
from ui.forecast import Updates
from ui.parts import Installed, Page
from ui.presets import (
    every_preset,
    find_preset,
    is_own,
    own_folder,
    preset_card,
    preset_choices,
    preset_words,
)
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice
from wanvideo.lora_plan import needed_file
from wanvideo.presets import delete_preset, save_preset
from wanvideo.recommended import recommended_preset

# What a preset of one's own leaves out: the inputs of one video.
INPUTS = {"task", "prompt", "image", "end_image", "video", "audio", "audio_order", "speaker_boxes"}
INPUTS |= {"seed", "count", "extends", "extends_from", "audio_start"}
LENGTHS = ("num_frames", "seconds")  # two ways to say one thing


def connect_presets(page: Page) -> None:
    """Wire the picker's events; called inside its Blocks."""
    picker, task = page.models.picker, page.form["task"]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown, chosen = [picker.choice, picker.card, picker.delete], [picker.choice, task]
    everything = {*page.form.components, picker.choice, picker.name}
    blocks = gr.context.Context.root_block
    assert blocks is not None
    gr.on([task.change, blocks.load], partial(show_choices, page), chosen, shown, **quiet)
    picker.choice.input(partial(show_preset, page), chosen, shown, **quiet)
    filled = [*page.form.components, picker.card]
    picker.apply.click(partial(apply_preset, page), everything, filled, **quiet)
    picker.save.click(partial(save_own, page), everything, [*shown, picker.name], **quiet)
    picker.delete.click(partial(delete_own, page), chosen, shown, **quiet)


def show_choices(page: Page, chosen: str, task: str) -> Updates:
    """The presets of the task; one that was made for another gives way to the one for this machine."""
    presets, faults = every_preset()
    for fault in faults:
        gr.Warning(fault)
    choices = preset_choices(presets, page.machine, task)
    if chosen not in [name for _, name in choices]:
        chosen = recommended_preset(page.machine, task).name
    choice = gr.update(choices=choices, value=chosen)
    return {**show_preset(page, chosen, task), page.models.picker.choice: choice}


def show_preset(page: Page, name: str, task: str) -> Updates:
    """The card of a preset, and whether it can be deleted."""
    picker = page.models.picker
    try:
        card = preset_card(find_preset(name), page.machine, task)
    except UserError as error:  # deleted in another tab, or damaged since
        gr.Warning(as_sentence(str(error)))
        return {picker.card: "", picker.delete: gr.update(interactive=False)}
    return {picker.card: card, picker.delete: gr.update(interactive=is_own(name))}


def apply_preset(page: Page, values: Values) -> Updates:
    """What the chosen preset names goes into the form; the rest stays as it is."""
    picker = page.models.picker
    updates: Updates = {picker.card: gr.skip()}
    try:
        preset = find_preset(values[picker.choice])
        known = page.read_folders()
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return updates
    task = preset.request.get("task", values[page.form["task"]])
    named = preset.named(task)
    named |= _other_length(named) | _installed(named, known)
    if not named.get("loras") and not collect(page.form, values).get("loras"):
        named |= _few_steps(task, named.get("num_inference_steps"), known.loras)
    for field, value in named.items():
        if field in page.form.widgets and is_for(field, task):
            updates |= dict(zip(page.form.widgets[field], shown_values(field, value), strict=True))
    gr.Info(say("preset_applied", preset=preset_words(preset)["label"]), duration=4)
    return updates


def _other_length(named: Mapping[str, Any]) -> dict[str, Any]:
    """A length that the preset sets replaces one that is given in the other way."""
    given = [name for name in LENGTHS if named.get(name) is not None]
    return {name: None for name in LENGTHS if given and name not in given}


def _installed(named: Mapping[str, Any], known: Installed) -> dict[str, Any]:
    """The model and the LoRAs that it names, without those that are not there, which are told."""
    kept: dict[str, Any] = {}
    if named.get("model") and named["model"] not in known.models:
        kept["model"] = None
        gr.Warning(say("preset_missing", file=named["model"]))
    if "loras" in named:
        kept["loras"] = tuple(lora for lora in named["loras"] if lora.file in known.loras)
        for lora in set(named["loras"]) - set(kept["loras"]):
            gr.Warning(say("preset_missing", file=lora.file))
    return kept


def _few_steps(task: str, steps: int | None, loras: Iterable[str]) -> dict[str, Any]:
    """The step-distilled LoRA that so few steps need, where it is installed; else its name is told."""
    file = needed_file(task, steps)
    if file is None:
        return {}
    stem = PurePosixPath(file.file_name).stem
    here = next((name for name in loras if PurePosixPath(name).name == stem), None)
    if here is None:
        gr.Warning(say("preset_few_steps", steps=steps, file=file.file_name))
        return {}
    return {"loras": (LoraChoice(file=here),)}


def save_own(page: Page, values: Values) -> Updates:
    """The form as a preset of one's own, for the task that is chosen, without the inputs of the one video."""
    picker, task = page.models.picker, values[page.form["task"]]
    settings = collect(page.form, values)
    fields = [name for name in page.form.widgets if name not in INPUTS and is_for(name, task)]
    kept = {name: settings.get(name) for name in fields}
    try:
        preset = save_preset(values[picker.name], task, kept, own_folder())
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return {picker.name: gr.skip()}
    gr.Info(say("preset_saved", preset=preset_words(preset)["label"]), duration=4)
    return {**show_choices(page, preset.name, task), picker.name: ""}


def delete_own(page: Page, name: str, task: str) -> Updates:
    """Remove a preset of one's own."""
    try:
        delete_preset(name, own_folder())
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
    return show_choices(page, name, task)
