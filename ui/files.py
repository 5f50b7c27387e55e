"""The Files tab: recipes with a Download button, what lies in the model folders, added folders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ui.cards import as_sentence, card, table
from ui.fields import Widget
from ui.texts import say, say_or
from ui.texts.notes import in_language
from wanvideo.checkpoint.folders import describe_folder
from wanvideo.downloads.added_folders import add_folder, added_folders, remove_folder
from wanvideo.downloads.catalog import words_for_bytes
from wanvideo.downloads.recipes import RECIPES
from wanvideo.downloads.running import DONE, FAILED, IDLE, RUNNING, STOPPED, Downloads, Running
from wanvideo.downloads.state import ComponentState, RecipeState, component_states, recipe_states
from wanvideo.errors import UserError
from wanvideo.prepare import model_folders
from wanvideo.request import read_options

TICK_SECONDS = 1.0
Updates = dict[Any, Any]

# A click on an element with data-action becomes the event {action, name}.
CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-action]');
  if (target) trigger('click', {action: target.dataset.action, name: target.dataset.name});
});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesTab:
    """What events read or write, and the download that all visitors see. `folders` as in Page."""

    downloads: Downloads
    folders: Mapping[str, str]
    running: gr.HTML
    stop: gr.Button
    recipes: gr.HTML
    found: gr.HTML
    added: gr.HTML
    folder: gr.Textbox
    add: gr.Button

    @property
    def cards(self) -> list[Widget]:
        """What depends on the disk."""
        return [self.recipes, self.found, self.added]


def build_files(folders: Mapping[str, str]) -> FilesTab:
    """Place the tab's widgets in the surrounding Blocks, not yet connected."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=6, min_width=340):
            running = gr.HTML(running_card(Running()), elem_id="download")
            stop = gr.Button(say("stop"), variant="stop", size="sm", visible=False)
            recipes = gr.HTML(js_on_load=CLICKS, elem_id="recipes")
        with gr.Column(scale=5, min_width=340):
            found = gr.HTML(elem_id="components")
            added = gr.HTML(js_on_load=CLICKS, elem_id="added")
            folder = gr.Textbox(label=say("files_add_label"), info=say("files_add_help"), max_lines=1)
            add = gr.Button(say("files_add"), size="sm")
    return FilesTab(
        downloads=Downloads(),
        folders=folders,
        running=running,
        stop=stop,
        recipes=recipes,
        found=found,
        added=added,
        folder=folder,
        add=add,
    )


def connect_files(tab: FilesTab, look: Callable[[], Updates], others: Sequence[Widget]) -> None:
    """Wire the tab's events; called inside its Blocks. `look` gives the updates of `others`, the widgets of
    other tabs that show models.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    view = gr.State({"state": IDLE, "sent": None})

    def refresh() -> Updates:
        return {**show_files(tab), **look()}

    def act(event: gr.EventData) -> Updates:
        take_action(tab, event.action, event.name)
        return refresh()

    def add(folder: str) -> Updates:
        return {**refresh(), tab.folder: ""} if add_models_folder(folder) else {tab.folder: gr.skip()}

    def tick(seen: dict[str, Any]) -> Updates:
        updates = look_at_download(tab, view, seen)
        return {**updates, **refresh()} if updates[view]["state"] != seen["state"] else updates

    shown = [*tab.cards, *others]
    watched = [tab.running, tab.stop, view]
    tab.recipes.click(act, None, shown, **quiet)
    tab.added.click(act, None, shown, **quiet)
    gr.on([tab.add.click, tab.folder.submit], add, tab.folder, [*shown, tab.folder], **quiet)
    tab.stop.click(lambda: tab.downloads.stop(), None, None, **quiet)
    gr.Timer(TICK_SECONDS).tick(tick, view, [*watched, *shown], **quiet)
    blocks = gr.context.Context.root_block
    assert blocks is not None
    gr.on([blocks.load], lambda: show_files(tab), None, tab.cards, **quiet)


def show_files(tab: FilesTab) -> Updates:
    """The cards as the disk has it now."""
    try:
        folders, added = model_folders(read_options(tab.folders)), added_folders()
    except UserError as error:
        return {tab.added: card(say("files_added"), f"<p>{escape(as_sentence(str(error)))}</p>", "error")}
    usable, refused = describe_folder(folders)
    return {
        tab.recipes: recipes_card(recipe_states(folders, usable)),
        tab.found: components_card(component_states(usable, refused)),
        tab.added: added_card({str(folder): folder.is_dir() for folder in added}),
    }


def take_action(tab: FilesTab, action: str, name: str) -> None:
    """A click in a card: download a recipe, or forget an added folder."""
    try:
        if action == "download" and name in RECIPES:
            folders = model_folders(read_options(tab.folders))
            states = recipe_states(folders, describe_folder(folders)[0])
            missing = next(state.missing for state in states if state.recipe.name == name)
            tab.downloads.start(say_or(f"recipe_{name}", RECIPES[name].title), missing, folders[0])
        elif action == "remove":
            remove_folder(Path(name))
    except UserError as error:
        gr.Warning(as_sentence(str(error)))


def add_models_folder(folder: str) -> bool:
    """Whether it was added; a toast says why not."""
    try:
        add_folder(Path(folder.strip()))
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return False
    return True


def look_at_download(tab: FilesTab, state: gr.State, seen: dict[str, Any]) -> Updates:
    """The download as it stands, only if it changed since this visitor's last look."""
    now = tab.downloads.now
    shown = running_card(now)
    if shown == seen["sent"]:
        return {state: seen}
    can_stop = gr.update(visible=now.state == RUNNING and not now.stopping)
    return {tab.running: shown, tab.stop: can_stop, state: {"state": now.state, "sent": shown}}


def running_card(now: Running) -> str:
    """The bar of the running download, or how the last one ended."""
    title = f"{say('files_download')}: {now.title}" if now.title else say("files_download")
    if now.state == FAILED:
        return card(title, f"<p>{escape(as_sentence(now.error))}</p>", "error")
    if now.state == RUNNING:
        return card(title, _bar(now))
    ends = {IDLE: say("files_idle"), DONE: say("files_done"), STOPPED: say("files_stopped")}
    return card(title, f"<p class='hint'>{ends[now.state]}</p>")


def _bar(now: Running) -> str:
    event = now.event
    percent = 100 * event.done / event.total if event and event.total else 0.0
    told = in_language(event.words) if event else say("files_starting")
    words = say("stopping_download") if now.stopping else told
    file = f"<p class='hint'>{escape(event.file)}</p>" if event else ""
    bar = f"<div class='bar'><i style='width:{percent:.1f}%'></i></div>"
    return f"{file}{bar}<p class='hint'>{escape(words)}</p>"


def recipes_card(states: list[RecipeState]) -> str:
    """A row per recipe with its size, licence, state and button."""
    rows = "".join(map(_recipe_row, states))
    return card(say("files_recipes"), f"<ul style='max-height:none'>{rows}</ul>", "queue")


def _recipe_row(state: RecipeState) -> str:
    recipe, missing = state.recipe, state.missing
    facts = [words_for_bytes(recipe.bytes), recipe.licences]
    if 0 < len(missing) < len(recipe.files):
        size = words_for_bytes(state.missing_bytes)
        facts.append(say("files_lacks", count=len(missing), total=len(recipe.files), size=size))
    if not all(file.confirmed for file in missing):
        facts.append(say("files_unconfirmed"))
    if recipe.note:
        facts.append(say_or(f"recipe_note_{recipe.name}", recipe.note))
    badge, kind = (say("state_missing"), "queued") if missing else (say("state_complete"), "done")
    button = f"<button data-action='download' data-name='{escape(recipe.name)}'>{say('files_get')}</button>"
    small = f"<small style='white-space:normal'>{escape(' · '.join(facts))}</small>"
    names = escape(", ".join(file.file_name for file in missing))
    title = escape(say_or(f"recipe_{recipe.name}", recipe.title))
    return (
        f"<li title='{names}'><span class='state {kind}'>{badge}</span>"
        f"<span class='what'><b>{title}</b>{small}</span>{button if missing else ''}</li>"
    )


def components_card(states: list[ComponentState]) -> str:
    """Each kind of file: found, missing, or there but not usable."""
    names = say("files_components").split("|")
    rows = [row for name, state in zip(names, states, strict=True) for row in _component_rows(name, state)]
    return card(say("files_found"), table(rows, say("files_columns").split("|")))


def _component_rows(name: str, state: ComponentState) -> list[tuple[str, str, str]]:
    found = [
        (name, f"{facts.path.name} ({words_for_bytes(facts.bytes)})", say("state_found"))
        for facts in state.usable
    ]
    wrong = [(name, as_sentence(refusal.sentence), say("state_wrong")) for refusal in state.refused]
    missing = [(name, "", say("state_missing"))] if state.is_needed and not found else []
    return [*found, *wrong, *missing]


def added_card(folders: Mapping[str, bool]) -> str:
    """The added folders, each with whether it is there now."""
    if not folders:
        return card(say("files_added"), f"<p class='hint'>{say('files_added_none')}</p>")
    rows = "".join(_added_row(folder, is_there) for folder, is_there in folders.items())
    return card(say("files_added"), f"<ul>{rows}</ul>", "queue")


def _added_row(folder: str, is_there: bool) -> str:
    away = "" if is_there else f"<small>{say('files_away')}</small>"
    button = f"<button data-action='remove' data-name='{escape(folder)}'>{say('files_remove')}</button>"
    return f"<li><span class='what'><b>{escape(folder)}</b>{away}</span>{button}</li>"
