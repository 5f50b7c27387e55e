"""Several pictures, recordings, prompts or seeds at once: where they are given, and what they come to."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from gradio.blocks import BlockContext

from ui.fields import Values, Widget, is_for
from ui.texts import say
from wanvideo.errors import UserError

Settings: TypeAlias = Mapping[str, Any]

MOST_VIDEOS = 200
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
TOLD_LETTERS = 40  # of a prompt that stands for its video


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPart:
    """The widgets that events read and empty, in the accordion `fold`; `place` is the block of the files, for
    tasks with a picture.
    """

    fold: gr.Accordion
    place: BlockContext
    files: gr.File
    prompts: gr.Textbox
    seeds: gr.Textbox

    @property
    def widgets(self) -> tuple[Widget, ...]:
        """All of them."""
        return (self.files, self.prompts, self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was given, kind by kind; nothing of a kind leaves what the form has."""

    pictures: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pictures or self.sounds or self.prompts or self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One of the videos: its name for a person, and what it has instead of what the form has."""

    name: str
    settings: Settings


def build_batch() -> BatchPart:
    """Place the widgets in the surrounding Blocks."""
    with gr.Accordion(say("batch"), open=False, elem_id="batch") as fold:
        gr.HTML(f"<p class='hint'>{say('batch_note', most=MOST_VIDEOS)}</p>")
        with gr.Column() as place:
            files = gr.File(
                label=say("batch_files"),
                file_count="multiple",
                file_types=[*PICTURES, *SOUNDS],
                type="filepath",
                height=130,
                elem_id="batch-files",
            )
        prompts = gr.Textbox(label=say("batch_prompts"), info=say("batch_prompts_help"), lines=2, max_lines=8)
        seeds = gr.Textbox(label=say("batch_seeds"), info=say("batch_seeds_help"), placeholder="1, 2, 3")
    return BatchPart(fold=fold, place=place, files=files, prompts=prompts, seeds=seeds)


def read_batch(part: BatchPart, values: Values, task: str) -> Batch:
    """What was given for the task. Raises UserError for seeds that are none, and for recordings in a task
    without speech.
    """
    files = values.get(part.files) or [] if is_for("image", task) else []
    sounds = tuple(file for file in files if Path(file).suffix.lower() in SOUNDS)
    if sounds and not is_for("audio", task):
        raise UserError(say("batch_no_sound", name=Path(sounds[0]).name))
    lines = (line.strip() for line in (values.get(part.prompts) or "").splitlines())
    return Batch(
        pictures=tuple(file for file in files if file not in sounds),
        sounds=sounds,
        prompts=tuple(line for line in lines if line),
        seeds=read_seeds(values.get(part.seeds) or ""),
    )


def read_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers between commas or blanks. Raises UserError."""
    words = [word for word in re.split(r"[,;，；\s]+", text) if word]
    if any(re.fullmatch(r"\d+", word) is None for word in words):
        raise UserError(say("batch_bad_seeds"), value=text, allowed="1, 2, 3")
    return tuple(map(int, words))


def combinations(batch: Batch, form: Settings) -> tuple[Combination, ...]:
    """Each of the inputs with each prompt and each seed. `form` is what the form itself has: its second
    speaker stays, and seeds of the batch take the place of its number of variations. Raises UserError when
    there are more than MOST_VIDEOS.
    """
    found = tuple(_combine(batch, form))
    count = len(found) * (1 if batch.seeds else int(form.get("count", 1)))
    if count > MOST_VIDEOS:
        raise UserError(say("batch_too_many", count=count, most=MOST_VIDEOS))
    return found


def _combine(batch: Batch, form: Settings) -> Iterator[Combination]:
    for pair, prompt, seed in product(_pairs(batch), batch.prompts or (None,), batch.seeds or (None,)):
        settings: dict[str, Any] = {}
        picture, sound = pair
        if picture is not None:
            settings["image"] = picture
        if sound is not None:
            settings["audio"] = [sound, *form.get("audio", ())[1:]]
        if prompt is not None:
            settings["prompt"] = prompt
        if seed is not None:
            settings |= {"seed": seed, "count": 1}
        words = [Path(file).name for file in pair if file]
        words += [prompt[:TOLD_LETTERS]] if prompt else []
        words += [say("batch_seed", seed=seed)] if seed is not None else []
        yield Combination(name=" + ".join(words), settings=settings)


def _pairs(batch: Batch) -> Sequence[tuple[str | None, str | None]]:
    """Pictures with recordings: in their order when there are as many of both, else each with each."""
    if len(batch.pictures) == len(batch.sounds):
        return list(zip(batch.pictures, batch.sounds, strict=True)) or [(None, None)]
    return list(product(batch.pictures or (None,), batch.sounds or (None,)))
