"""The LoRA files of the models folders, and those that a request names."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.header import PICKLE_SUFFIXES, read_metadata
from wanvideo.checkpoint.lora import LoraUse, inspect_lora, parameter_shapes
from wanvideo.checkpoint.lora_recipes import recipe_of
from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice

FOLDER = "loras"  # within a models folder
SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)


def with_loras(models: ModelSet, wanted: Iterable[LoraChoice], folders: Sequence[Path]) -> ModelSet:
    """The model set with the LoRAs that a request names, and with the recipe of a step-distilled model.

    Raises UserError for an unknown name and for a file that does not fit the model.
    """
    transformer = models.transformer
    recipe = recipe_of(models.name, read_metadata(transformer.path))
    choices = list(wanted)
    if not choices:
        return replace(models, recipe=recipe)
    parts = [transformer, *([models.audio] if models.audio else [])]
    shapes, uses = parameter_shapes(parts), []
    for choice in choices:
        path = find_lora(choice.file, folders)
        uses.append(LoraUse(facts=inspect_lora(path, path.stem, shapes), strength=choice.strength))
    return replace(models, recipe=recipe, loras=tuple(uses))


def find_lora(wanted: str, folders: Iterable[Path]) -> Path:
    """The file that a name in the models folders, or a path, means. Raises UserError with near names."""
    names = lora_names(folders)
    if wanted in names:
        return names[wanted]
    if Path(wanted).is_file():
        return Path(wanted)
    told = wanted.replace("\\", "/")
    meant = {n: path for n, path in names.items() if told in (n, path.stem, path.name, f"{n}{path.suffix}")}
    if len(meant) == 1:
        return next(iter(meant.values()))
    if meant:
        raise UserError("several LoRAs have this name", value=wanted, allowed=sorted(meant))
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or sorted(names)[:3]
    fix = f"Give a file, or a name in the folder {FOLDER} of the models folder."
    raise UserError("unknown LoRA", value=wanted, allowed=near or "none is installed", fix=fix)


def lora_names(folders: Iterable[Path]) -> dict[str, Path]:
    """Name -> file of every LoRA below `loras` in the folders, or in one of that name; the name is the path
    there, less the suffix. A name of an earlier folder hides the same one of a later.
    """
    found: dict[str, Path] = {}
    for folder in (folder if folder.name == FOLDER else folder / FOLDER for folder in folders):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found
