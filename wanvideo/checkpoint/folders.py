"""What the models folders hold: every usable checkpoint, every one that is not, and their names."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from wanvideo.checkpoint.header import SUFFIXES, checkpoint_files
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.kept_inspections import KeptInspections
from wanvideo.checkpoint.refusal import UNREADABLE, Refusal
from wanvideo.errors import UserError

_SHARD_NUMBER = re.compile(r"-\d{5}-of-\d{5}$")
_NAMELESS = ("diffusion_pytorch_model", "pytorch_model", "model")  # the same in every release
_NAMELESS_FOLDERS = ("transformer", "diffusion_models", "unet")


def describe_folder(folders: Iterable[Path]) -> tuple[list[CheckpointFacts], list[Refusal]]:
    """(usable checkpoints, refused files) below `folders`; a sharded model counts once."""
    usable: dict[tuple[Path, ...], CheckpointFacts] = {}
    refused: dict[tuple[Path, str], Refusal] = {}
    kept = KeptInspections()
    for path in _model_files(folders):
        found = _inspect(path, kept)
        if isinstance(found, Refusal):
            refused.setdefault((found.path.parent, found.sentence), found)
        else:
            usable.setdefault(tuple(file.resolve() for file in found.files), found)
    kept.save()
    return list(usable.values()), list(refused.values())


def model_name(facts: CheckpointFacts) -> str:
    """The name a request uses: the file's, or its folder's where releases share their file names."""
    return _named_path(facts).name


def model_names(found: Iterable[CheckpointFacts]) -> dict[str, CheckpointFacts]:
    """Name -> diffusion model; of two with one name, each gets as many folders as tell them apart."""
    models = [facts for facts in found if facts.component == "transformer"]
    return {_unique_name(facts, models): facts for facts in models}


def _model_files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def _inspect(path: Path, kept: KeptInspections) -> CheckpointFacts | Refusal:
    try:
        files = checkpoint_files(path)
        found = kept.get(files)
        if found is None:
            found = _inspect_anew(files[0])
            kept.put(files, found)
        return found
    except UserError as error:
        return Refusal.of(path, error)
    except OSError as error:
        sentence = f"{path.name} can't be opened: {error.strerror}."
        return Refusal(path=path, sentence=sentence, component=UNREADABLE)


def _inspect_anew(path: Path) -> CheckpointFacts | Refusal:
    try:
        return inspect_checkpoint(path)
    except UserError as error:
        return Refusal.of(path, error)


def _named_path(facts: CheckpointFacts) -> Path:
    """The path whose last part names the model."""
    path = facts.path.absolute()
    stem = _SHARD_NUMBER.sub("", path.stem)
    if not stem.startswith(_NAMELESS[0]) and stem not in _NAMELESS:
        return path.parent / stem
    named = (folder for folder in path.parents if folder.name not in _NAMELESS_FOLDERS)
    return next(named, path.parent)


def _unique_name(facts: CheckpointFacts, models: list[CheckpointFacts]) -> str:
    own = _named_path(facts).parts
    others = [_named_path(other).parts for other in models if other is not facts]
    for count in range(1, len(own)):
        if all(other[-count:] != own[-count:] for other in others):
            return "/".join(own[-count:])
    return str(facts.path)
