"""`models list` and `models inspect FILE`: what is there, what it is good for, what recipes lack."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.folders import describe_folder
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.refusal import Refusal
from wanvideo.cli_answer import Answer
from wanvideo.downloads.added_folders import added_folders
from wanvideo.downloads.catalog import FILES, KnownFile, words_for_bytes
from wanvideo.downloads.state import FileState, RecipeState, recipe_states


def list_models(folders: Sequence[Path]) -> Answer:
    """Every file of the model folders and every recipe. Raises UserError for a damaged list of folders."""
    usable, refused = describe_folder(folders)
    recipes, added = recipe_states(folders, usable), added_folders()
    files = [*map(_file_values, usable), *map(_refusal_values, refused)]
    lines = [
        "Model folders:",
        *(f"  {folder}" for folder in folders),
        *(f"  {folder} (added, not there now)" for folder in added if not folder.is_dir()),
        "Files:",
        *(_file_line(values) for values in files),
        "Recipes (models download NAME):",
        *(line for state in recipes for line in _recipe_lines(state)),
        "Single files that can be downloaded:",
        *(f"  {file.name:<24} {file.words}" for file in FILES.values()),
    ]
    values = {
        "folders": [str(folder) for folder in folders],
        "added_folders": [str(folder) for folder in added],
        "files": files,
        "recipes": [_recipe_values(state) for state in recipes],
    }
    return Answer(lines=tuple(lines), values=values)


def inspect_file(path: Path) -> Answer:
    """What one file is, from its header. Raises UserError with the reason why it can't be used."""
    facts = inspect_checkpoint(path)
    values = {
        **_file_values(facts),
        "files": [str(file) for file in facts.files],
        "dim": facts.dim,
        "layers": facts.num_layers,
        "parameters": facts.num_parameters,
        "dtypes": list(facts.dtypes),
        "prefix": facts.prefix,
        "tokenizer": facts.has_tokenizer,
    }
    width = max(map(len, values))
    return Answer(
        lines=tuple(f"{name + ':':<{width + 1}} {_plain(value)}" for name, value in values.items()),
        values=values,
    )


def _file_values(facts: CheckpointFacts) -> dict[str, Any]:
    return {
        "path": str(facts.path),
        "component": facts.component,
        "task": facts.task_hint,
        "bytes": facts.bytes,
        "format": facts.stored.words if facts.stored.layers else "/".join(facts.dtypes),
        "usable": True,
        "reason": None,
    }


def _refusal_values(refusal: Refusal) -> dict[str, Any]:
    return {
        "path": str(refusal.path),
        "component": refusal.component,
        "task": refusal.task_hint,
        "bytes": None,
        "format": None,
        "usable": False,
        "reason": refusal.sentence,
    }


def _file_line(values: dict[str, Any]) -> str:
    kind = " ".join(filter(None, (values["component"].replace("_", " "), values["task"])))
    if not values["usable"]:
        return f"  {kind:<22} not usable: {values['reason']}"
    return f"  {kind:<22} {words_for_bytes(values['bytes']):>8}  {values['format']:<24} {values['path']}"


def _recipe_values(state: RecipeState) -> dict[str, Any]:
    recipe = state.recipe
    return {
        "name": recipe.name,
        "title": recipe.title,
        "task": recipe.task,
        "bytes": recipe.bytes,
        "licence": recipe.licences,
        "complete": not state.missing,
        "missing": [_known_values(file) for file in state.missing],
        "missing_bytes": state.missing_bytes,
        "settings": {"request": dict(recipe.request), "options": dict(recipe.options)},
    }


def _known_values(file: KnownFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "repository": file.repository,
        "path": file.path,
        "bytes": file.bytes,
        "licence": file.licence,
        "folder": file.folder,
        "confirmed": file.confirmed,
    }


def _recipe_lines(state: RecipeState) -> list[str]:
    recipe, missing = state.recipe, state.missing
    lacks = f"{words_for_bytes(state.missing_bytes)} missing" if missing else "complete"
    note = f" ({recipe.note})" if recipe.note else ""
    about = f"{recipe.title}{note}: {words_for_bytes(recipe.bytes)}, {recipe.licences}"
    head = f"  {recipe.name:<16} {about}; {lacks}"
    names = [_name(one) for one in state.files if not one.is_there]
    return [head, f"    missing: {', '.join(names)}"] if names else [head]


def _name(one: FileState) -> str:
    return f"{one.file.name} (another file has its name: {one.path})" if one.path else one.file.name


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
