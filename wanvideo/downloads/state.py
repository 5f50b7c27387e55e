"""Which known files are there, which other files do their work, and what a recipe lacks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.companions import find_tokenizer, speech_misfit
from wanvideo.checkpoint.folders import model_name
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.profiles import private_home, tier_of
from wanvideo.checkpoint.recognise import LORA, VOCAL_SEPARATOR
from wanvideo.checkpoint.refusal import OTHER, Refusal
from wanvideo.downloads.catalog import TOKENIZER, KnownFile, Recipe
from wanvideo.downloads.recipes import RECIPES

FOUND, SERVED, MISSING, WRONG = "found", "served", "missing", "wrong"
COMPONENTS = (
    "transformer",
    "infinitetalk",
    "vae",
    "text_encoder",
    "image_encoder",
    "speech_encoder",
    LORA,
    VOCAL_SEPARATOR,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One known file: `found` under its name, its work done (`served`) by another file of the same kind,
    `missing`, or `wrong`: its name is taken by a file of another size or by one that can't be used. `path` is
    the file that is there.
    """

    file: KnownFile
    state: str
    path: Path | None = None

    @property
    def is_there(self) -> bool:
        """Whether nothing needs to be downloaded."""
        return self.state in (FOUND, SERVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeState:
    """A recipe with the state of each of its files."""

    recipe: Recipe
    files: tuple[FileState, ...]

    @property
    def missing(self) -> tuple[KnownFile, ...]:
        """What a download would bring."""
        return tuple(state.file for state in self.files if not state.is_there)

    @property
    def missing_bytes(self) -> int:
        """The size of that."""
        return sum(file.bytes for file in self.missing)


def recipe_states(folders: Iterable[Path], usable: Sequence[CheckpointFacts]) -> list[RecipeState]:
    """Every recipe over what lies in the model folders; `usable` is what `describe_folder` found in them."""
    names = _files_by_name(folders)
    return [
        RecipeState(
            recipe=recipe,
            files=tuple(_state(file, names.get(file.file_name, []), usable) for file in recipe.files),
        )
        for recipe in RECIPES.values()
    ]


def _files_by_name(folders: Iterable[Path]) -> Mapping[str, list[Path]]:
    wanted = {file.file_name for recipe in RECIPES.values() for file in recipe.files}
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.name in wanted and path.is_file():
                found.setdefault(path.name, []).append(path)
    return found


def _state(file: KnownFile, named: Sequence[Path], usable: Sequence[CheckpointFacts]) -> FileState:
    public = [path for path in named if private_home(path) is None]
    exact = next((path for path in public if _is_it(file, path, usable)), None)
    if exact:
        return FileState(file=file, state=FOUND, path=exact)
    other = next((facts.path for facts in usable if _serves(file, facts)), None)
    if other:
        return FileState(file=file, state=SERVED, path=other)
    return FileState(file=file, state=WRONG if public else MISSING, path=public[0] if public else None)


def _is_it(file: KnownFile, path: Path, usable: Iterable[CheckpointFacts]) -> bool:
    """Whether a file of that name has the right size and, if it is a model, a header that can be used."""
    if file.confirmed and path.stat().st_size != file.bytes:
        return False
    place = path.resolve()
    return file.component == TOKENIZER or any(
        place == part.resolve() for facts in usable for part in facts.files
    )


def _serves(file: KnownFile, facts: CheckpointFacts) -> bool:
    """Whether a file of another name does the same work: same kind and width, made for the same task."""
    if file.dim is None or (facts.component, facts.dim) != (file.component, file.dim):
        return False
    if private_home(facts.path):
        return False
    if file.task_hint and facts.task_hint != file.task_hint:
        return False
    if facts.component == "text_encoder":
        return find_tokenizer(facts) is not None
    name = model_name(facts)
    speakers = 2 if "multi" in file.name else 1
    return tier_of(name) == tier_of(file.file_name) and not any(speech_misfit(facts, speakers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentState:
    """The files of one kind: those that can be used, and those that can't, with their sentences. Files that
    are nothing known stand under the component `other`.
    """

    component: str
    usable: tuple[CheckpointFacts, ...]
    refused: tuple[Refusal, ...]

    @property
    def is_needed(self) -> bool:
        """Whether a video may need a file of this kind."""
        return self.component != OTHER


def component_states(usable: Iterable[CheckpointFacts], refused: Iterable[Refusal]) -> list[ComponentState]:
    """Every kind of file that a video may need, and what else was found."""
    found, wrong = list(usable), list(refused)
    states = [
        ComponentState(
            component=component,
            usable=tuple(facts for facts in found if facts.component == component),
            refused=tuple(refusal for refusal in wrong if refusal.component == component),
        )
        for component in COMPONENTS
    ]
    rest = tuple(refusal for refusal in wrong if refusal.component not in COMPONENTS)
    return [*states, ComponentState(component=OTHER, usable=(), refused=rest)]
