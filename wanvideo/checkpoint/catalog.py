"""Which files make up a model: a diffusion model, and the companions that fit it by shape.

The pocket model is found the same way as a 14B one. A folder with a profile is private: its companions serve
the diffusion models in it and no others, so that a missing file is told and never replaced by a tiny one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.companions import Installed, find_companions, require_tokenizer, speech_misfit
from wanvideo.checkpoint.folders import describe_folder, model_name, model_names
from wanvideo.checkpoint.header import PICKLE_SUFFIXES
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.lora import LoraUse
from wanvideo.checkpoint.lora_recipes import Recipe
from wanvideo.checkpoint.profiles import ModelProfile, make_profile, private_home, tier_of
from wanvideo.checkpoint.refusal import UNREADABLE, Refusal
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNeeds:
    """Which transformer a task runs on (i2v or t2v), and whether it needs the speech branch and its
    encoder.
    """

    transformer: str
    speech: bool = False


TASK_NEEDS: Mapping[str, TaskNeeds] = {
    TALK: TaskNeeds(transformer="i2v", speech=True),
    IMAGE_TO_VIDEO: TaskNeeds(transformer="i2v"),
    TEXT_TO_VIDEO: TaskNeeds(transformer="t2v"),
}
_KIND_IN_WORDS = {"i2v": "an image-to-video model", "t2v": "a text-to-video model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """The files one task needs, each with the facts of its header; encoders the task does not use are None.

    `passed_over` has a sentence for each model that would have gone first and can't be used. `loras` are
    those of the request, `recipe` that of a step-distilled diffusion model: `lora_files` adds both.
    `vocal_separator`, where one is wanted and installed, is added by `separator_file`.
    """

    name: str
    profile: ModelProfile
    transformer: CheckpointFacts
    vae: CheckpointFacts
    text_encoder: CheckpointFacts
    tokenizer: Path
    audio: CheckpointFacts | None = None
    image_encoder: CheckpointFacts | None = None
    speech_encoder: CheckpointFacts | None = None
    vocal_separator: CheckpointFacts | None = None
    passed_over: tuple[str, ...] = ()
    loras: tuple[LoraUse, ...] = ()
    recipe: Recipe | None = None

    @property
    def checkpoints(self) -> tuple[CheckpointFacts, ...]:
        """The files' facts, without the ones the task does not use."""
        every = (
            self.transformer,
            self.audio,
            self.vae,
            self.text_encoder,
            self.image_encoder,
            self.speech_encoder,
            self.vocal_separator,
        )
        return tuple(facts for facts in every if facts is not None)


def resolve_models(task: str, wanted: str | None, folders: Iterable[Path], speakers: int = 1) -> ModelSet:
    """The complete set for `task`: the wanted transformer (name or path), else the largest one in the first
    folder whose companions are there; with the InfiniteTalk module that was trained for one speaker or for
    several.

    Raises UserError naming what is missing.
    """
    places = [*folders, *([Path(wanted)] if wanted and Path(wanted).is_dir() else [])]
    usable, refused = describe_folder(places)
    installed = Installed(usable=usable, refused=refused, speakers=speakers)
    candidates = _wanted(task, wanted, installed) if wanted else _of_task(task, usable)
    problems = [] if wanted else [refusal.sentence for refusal in refused if _was_a_choice(task, refusal)]
    candidates = sorted(candidates, key=lambda facts: _preference(task, speakers, facts))
    for transformer in sorted(candidates, key=lambda facts: _place(places, facts)):
        try:
            return _complete(task, transformer, installed, tuple(problems))
        except UserError as error:
            problems.append(str(error))
    raise UserError(
        f"no complete model for {task}: " + " ".join(problems or ["no diffusion model file was found"])
    )


def _of_task(task: str, found: Iterable[CheckpointFacts]) -> list[CheckpointFacts]:
    kind = TASK_NEEDS[task].transformer
    return [facts for facts in found if facts.component == "transformer" and _kind(facts) == kind]


def _was_a_choice(task: str, refusal: Refusal) -> bool:
    """Whether a refused file could have been the diffusion model of this task."""
    if refusal.component == UNREADABLE:
        # Diffusion models are published as safetensors and GGUF; a pickle nearby can be anything.
        return refusal.path.suffix.lower() not in PICKLE_SUFFIXES
    return refusal.component == "transformer" and refusal.task_hint in (None, TASK_NEEDS[task].transformer)


def _place(places: Sequence[Path], facts: CheckpointFacts) -> int:
    inside = (index for index, folder in enumerate(places) if facts.path.is_relative_to(folder))
    return next(inside, len(places))


def _preference(task: str, speakers: int, facts: CheckpointFacts) -> tuple[object, ...]:
    """Sort key, best first: wide and deep, made for this kind of sound, the 480 release, the fuller file."""
    speech = TASK_NEEDS[task].speech
    audio = speech_misfit(facts, speakers) if speech else (facts.has_audio,)
    tier = tier_of(model_name(facts))
    fullness = (-facts.num_parameters, -facts.bytes)
    return (-facts.dim, -facts.num_layers, audio, tier, *fullness, str(facts.path))


def _wanted(task: str, wanted: str, installed: Installed) -> list[CheckpointFacts]:
    """The diffusion models that a name or a path means. Raises UserError when there is none for the task."""
    meant = [facts for name, facts in model_names(installed.usable).items() if name == wanted]
    meant = meant or [facts for facts in installed.usable if _means(wanted, facts.path, model_name(facts))]
    fitting = _of_task(task, meant)
    if fitting:
        return fitting
    refused = [refusal for refusal in installed.refused if _means(wanted, refusal.path)]
    if refused:
        first = min(refused, key=lambda refusal: refusal.component != "transformer")
        raise UserError(first.sentence.rstrip("."))
    if not meant and Path(wanted).is_file():
        meant = [inspect_checkpoint(Path(wanted))]
        if _of_task(task, meant):
            return meant
    names = sorted(model_names(_of_task(task, installed.usable))) or "none is installed"
    if meant:
        other = min(meant, key=lambda facts: facts.component != "transformer")
        needed = _KIND_IN_WORDS[TASK_NEEDS[task].transformer]
        raise UserError(f"{model_name(other)} is {_in_words(other)}; {task} needs {needed}", allowed=names)
    raise UserError("unknown model", value=wanted, allowed=names, fix="Give a name or a file.")


def _means(wanted: str, path: Path, name: str | None = None) -> bool:
    """Whether `wanted` is the name, the file or the folder of a checkpoint."""
    if wanted in (name, path.stem, path.name, path.parent.name):
        return True
    place = Path(wanted)
    return place.exists() and path.resolve().is_relative_to(place.resolve())


def _kind(facts: CheckpointFacts) -> str:
    return "i2v" if facts.has_image_branch else "t2v"


def _in_words(facts: CheckpointFacts) -> str:
    if facts.component == "transformer":
        return _KIND_IN_WORDS[_kind(facts)]
    return f"no diffusion model but a file of kind {facts.component}"


def _complete(
    task: str, transformer: CheckpointFacts, installed: Installed, passed_over: tuple[str, ...]
) -> ModelSet:
    companions = find_companions(transformer, TASK_NEEDS[task].speech, installed)
    names = {facts.path: name for name, facts in model_names(installed.usable).items()}
    name = names.get(transformer.path, model_name(transformer))
    return ModelSet(
        name=name,
        profile=make_profile(task, name, transformer.dim, private_home(transformer.path)),
        transformer=transformer,
        tokenizer=require_tokenizer(companions["text_encoder"]),
        passed_over=passed_over,
        loras=(),
        recipe=None,
        vae=companions.pop("vae"),
        text_encoder=companions.pop("text_encoder"),
        **companions,
    )
