"""Which files make up a model: every checkpoint of the models folder, and the companions that fit a
transformer by shape.

The pocket model is found the same way as a 14B one: its encoders have its sizes, so only they fit it.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.request import IMAGE_TO_VIDEO, REQUEST_FIELDS, TALK, TEXT_TO_VIDEO

log = logging.getLogger(__name__)

PROFILE_NAME = "model.json"
MODEL_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """What a model was made for. `area`: pixels of its native size, None for the published quality tiers."""

    label: str
    area: int | None = None
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """The files one task needs, each with the facts of its header; encoders the task does not use are
    None.
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
        )
        return tuple(facts for facts in every if facts is not None)


# Published sizes whose defaults differ from the task's: (dim, task) -> partial request
PUBLISHED_DEFAULTS: Mapping[tuple[int, str], Mapping[str, Any]] = {
    (1536, TEXT_TO_VIDEO): {"guidance_scale": 6.0, "flow_shift": 8.0},
}


def resolve_models(task: str, wanted: str | None, folders: Iterable[Path]) -> ModelSet:
    """The complete set for `task`: the wanted transformer (name or path), else the largest one whose
    companions are there.

    Raises UserError naming what is missing.
    """
    installed = [facts for folder in folders for facts in scan_folder(folder)]
    candidates = _transformers(task, wanted, installed)
    problems: list[str] = []
    for transformer in sorted(candidates, key=lambda facts: -facts.num_parameters):
        try:
            return _complete(task, transformer, installed)
        except UserError as error:
            problems.append(str(error))
    raise UserError(
        f"no complete model for {task}: " + " ".join(problems or ["no diffusion model file was found"])
    )


def scan_folder(folder: Path) -> list[CheckpointFacts]:
    """Facts of every usable checkpoint below `folder`; files that are something else are left out and
    logged.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in MODEL_SUFFIXES and path.is_file():
            facts = _inspect_quietly(path, path.stat().st_mtime_ns)
            if facts is not None:
                found.append(facts)
    return list({facts.files: facts for facts in found}.values())  # shards of one model are one row


@cache
def _inspect_quietly(path: Path, mtime_ns: int) -> CheckpointFacts | None:  # noqa: ARG001 - part of the cache key
    try:
        return inspect_checkpoint(path)
    except UserError as error:
        log.info("left out: %s", error)
        return None


def model_name(facts: CheckpointFacts) -> str:
    """The name a request uses: the file's stem."""
    return facts.path.stem


def _transformers(task: str, wanted: str | None, installed: list[CheckpointFacts]) -> list[CheckpointFacts]:
    kind = TASK_NEEDS[task].transformer
    usable = [facts for facts in installed if facts.component == "transformer" and _kind(facts) == kind]
    if wanted is None:
        return usable
    named = [facts for facts in usable if wanted in (model_name(facts), facts.path.parent.name)]
    if named:
        return named
    if Path(wanted).exists():
        facts = inspect_checkpoint(Path(wanted))
        if facts.component != "transformer" or _kind(facts) != kind:
            raise UserError(
                f"{facts.path.name} is a {facts.task_hint or facts.component} model; {task} needs {kind}"
            )
        return [facts]
    names = sorted({model_name(facts) for facts in usable})
    raise UserError(
        "unknown model", value=wanted, allowed=names or "none is installed", fix="Give a name or a file."
    )


def _kind(facts: CheckpointFacts) -> str:
    return "i2v" if facts.has_image_branch else "t2v"


def _complete(task: str, transformer: CheckpointFacts, installed: list[CheckpointFacts]) -> ModelSet:
    text_encoder = _fitting(installed, transformer, "text_encoder", dim=transformer.text_dim)
    companions: dict[str, CheckpointFacts] = {}
    if transformer.has_image_branch:
        companions["image_encoder"] = _fitting(
            installed, transformer, "image_encoder", dim=transformer.image_dim
        )
    if TASK_NEEDS[task].speech:
        audio = transformer
        if not transformer.has_audio:
            audio = companions["audio"] = _fitting(
                installed, transformer, "infinitetalk", dim=transformer.dim, num_layers=transformer.num_layers
            )
        companions["speech_encoder"] = _fitting(
            installed, transformer, "speech_encoder", features=audio.audio_features
        )
    return ModelSet(
        name=model_name(transformer),
        profile=_profile(task, transformer),
        transformer=transformer,
        vae=_fitting(installed, transformer, "vae"),
        text_encoder=text_encoder,
        tokenizer=_tokenizer(text_encoder),
        **companions,
    )


def _fitting(
    installed: list[CheckpointFacts], transformer: CheckpointFacts, component: str, **sizes: int | None
) -> CheckpointFacts:
    """The file of that component with these sizes; one from the transformer's own folder goes first."""
    fitting = [facts for facts in installed if facts.component == component]
    for name, value in sizes.items():
        fitting = [facts for facts in fitting if value is None or _size(facts, name) == value]
    if not fitting:
        raise UserError(f"{model_name(transformer)} lacks its {component.replace('_', ' ')} file")
    own = transformer.path.parent
    return min(fitting, key=lambda facts: (facts.path.parent != own, -facts.num_parameters, str(facts.path)))


def _size(facts: CheckpointFacts, name: str) -> int | None:
    if name == "features":
        return facts.dim * facts.num_layers
    value: int | None = getattr(facts, name)
    return value


def _tokenizer(text_encoder: CheckpointFacts) -> Path:
    """spiece.model beside the text encoder or in a folder umt5-xxl there; else the file itself, as ComfyUI's
    embed it.
    """
    folder = text_encoder.path.parent
    places = (
        folder / "spiece.model",
        folder / "umt5-xxl" / "spiece.model",
        folder / "google" / "umt5-xxl" / "spiece.model",
    )
    return next((place for place in places if place.exists()), text_encoder.path)


def _profile(task: str, transformer: CheckpointFacts) -> ModelProfile:
    """The profile file beside the transformer, or the published defaults of its size."""
    written = _read_profile(transformer.path.parent / PROFILE_NAME)
    if written is None:
        defaults = PUBLISHED_DEFAULTS.get((transformer.dim, task), {})
        return ModelProfile(label=model_name(transformer), defaults={task: defaults})
    return ModelProfile(
        label=written["label"],
        area=written.get("area"),
        defaults={
            name: read_values(REQUEST_FIELDS, part) for name, part in written.get("defaults", {}).items()
        },
    )


def _read_profile(path: Path) -> dict[str, Any] | None:
    """None when there is no profile; a model.json of some other program is none."""
    if not path.is_file():
        return None
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path.name} beside the model is damaged", fix=f"Repair or remove {path}."
        ) from error
    return written if isinstance(written, dict) and "label" in written else None
