"""What the denoiser is told: prompts, pictures and speech of a job, and the conditions of each window."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from wanvideo.lending import JobModels
from wanvideo.media.frames import read_frame_at, read_frames
from wanvideo.media.pictures import fit_picture, load_picture
from wanvideo.models.block_reuse import Reuse
from wanvideo.models.image_encoder import encode_picture
from wanvideo.models.passes import AudioContext, Pass
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.text_encoder import encode_prompt
from wanvideo.models.transformer import WanTransformer
from wanvideo.models.vae import encode
from wanvideo.plan import GenerationPlan
from wanvideo.prompt_cache import cached_prompts, prompt_key
from wanvideo.request import TALK
from wanvideo.sampling.denoise import Predict
from wanvideo.sampling.guidance import Branch
from wanvideo.sampling.preview import fit_colours
from wanvideo.speech_inputs import speech_of_job
from wanvideo.window_tensors import (
    latent_masks,
    reference_clip,
    speaker_masks,
    speech_windows,
    token_masks,
    with_mask,
)
from wanvideo.windows import Window

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureConditions:
    """The picture a window starts from: pixels (3, 1, H, W), CLIP tokens (257, dim), latents with mask (20,
    T, h, w).
    """

    picture: Tensor
    image_embeds: Tensor
    image_latents: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInputs:
    """What all windows share. `prompt_embeds`: prompt -> (rows, dim). `speech`: per speaker (frames, layers,
    channels).

    `still`: picture conditions when the source is a picture. `colour_reference` (3, 1, H, W): what talk's
    colours are held to, the first picture for all windows. `source_latents` (16, T, h, w): a video to start
    from.
    """

    prompt_embeds: dict[str, Tensor]
    preview_colours: Tensor
    speech: tuple[Tensor, ...] = ()
    regions: SpeakerRegions | None = None
    still: PictureConditions | None = None
    colour_reference: Tensor | None = None
    source_latents: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConditions:
    """What one window is denoised under; a task leaves out what it has not.

    `speech`: (speakers, frames, 5, layers, channels). `motion_latents`: (16, m, h, w), clean start of the
    window.
    """

    prompt_embeds: Tensor
    negative_embeds: Tensor | None = None
    picture: PictureConditions | None = None
    speech: Tensor | None = None
    regions: SpeakerRegions | None = None
    motion_latents: Tensor | None = None


def encode_inputs(plan: GenerationPlan, models: JobModels, report: Report) -> JobInputs:
    """Everything that is the same in all windows; each encoder is lent once."""
    report("text")
    prompt_embeds = _encode_prompts(plan, models)
    speech: tuple[Tensor, ...] = ()
    if plan.task == TALK:
        report("speech")
        speech = speech_of_job(plan, models)
    report("picture")
    source = _source_picture(plan)
    pixels = None if source is None else fit_picture(source, plan.height, plan.width)
    preview_colours, source_latents = _look_at_source(plan, models)
    return JobInputs(
        prompt_embeds=prompt_embeds,
        preview_colours=preview_colours,
        speech=speech,
        regions=None if source is None or plan.speakers == 1 else _regions(plan, source),
        still=None if pixels is None or plan.follows_video else _encode_still(plan, models, pixels),
        colour_reference=pixels if plan.task == TALK else None,
        source_latents=source_latents,
    )


def _look_at_source(plan: GenerationPlan, models: JobModels) -> tuple[Tensor, Tensor | None]:
    """(colours of previews, latents of the video to start from)."""
    with models.vae() as vae:
        colours = fit_colours(lambda card: encode(vae, card))
        if not plan.starts_from_video:
            return colours, None
        return colours, encode(vae, _source_clip(plan), models.memory.encode_tile)


def window_conditions(
    plan: GenerationPlan, window: Window, inputs: JobInputs, motion: Tensor | None, models: JobModels
) -> WindowConditions:
    """Conditions of one window; `motion` (3, m, H, W) are the last pixels of the window before, in [-1,
    1].
    """
    picture = inputs.still
    if plan.task == TALK and picture is None:
        frame = read_frame_at(plan.request.video or "", window.start, plan.settings.fps)
        pixels = fit_picture(Image.fromarray(frame), plan.height, plan.width)
        picture = encode_picture_conditions(models, pixels, window.frames)
    motion_latents = None
    if plan.task == TALK and picture is not None:
        with models.vae() as vae:
            clip = picture.picture if motion is None else motion
            motion_latents = encode(vae, clip, models.memory.encode_tile)
    return WindowConditions(
        prompt_embeds=inputs.prompt_embeds[plan.prompts[window.index]],
        negative_embeds=inputs.prompt_embeds.get(plan.settings.negative_prompt),
        picture=picture,
        speech=speech_windows(inputs.speech, window) if inputs.speech else None,
        regions=inputs.regions,
        motion_latents=motion_latents,
    )


def predictor(
    transformer: WanTransformer,
    conditions: WindowConditions,
    latents: Tensor,
    riflex_freq_index: int = 0,
    *,
    together: bool = False,
    reuse: Callable[[Branch], Reuse | None] = lambda _: None,
) -> Predict:
    """The forward passes of a step, with everything that does not depend on the step embedded beforehand.

    `together`: all of them through one block before the next; else one pass after the other. `reuse`: what a
    branch keeps of earlier steps.
    """
    device = latents.device
    picture = conditions.picture
    image_embeds = None if picture is None else picture.image_embeds[None].to(device)
    contexts = {True: transformer.embed_context(conditions.prompt_embeds[None].to(device), image_embeds)}
    if conditions.negative_embeds is not None:
        contexts[False] = transformer.embed_context(conditions.negative_embeds[None].to(device), image_embeds)
    audio: dict[bool, AudioContext | None] = {True: None, False: None}
    if conditions.speech is not None:
        speech = conditions.speech.to(device)
        regions = None if conditions.regions is None else SpeakerRegions(conditions.regions.masks.to(device))
        silence = torch.zeros_like(
            speech[-1:]
        )  # of ONE speaker, also for two: the reference's unconditional pass
        audio[True] = AudioContext(transformer.embed_audio(speech[None]), regions)
        audio[False] = AudioContext(transformer.embed_audio(silence[None]))
    image_latents = None if picture is None else picture.image_latents[None].to(device)
    rotary = transformer.rotary(latents, riflex_freq_index)

    def predict(latents: Tensor, timestep: Tensor, branches: Sequence[Branch]) -> list[Tensor]:
        seen = latents if image_latents is None else torch.cat([latents, image_latents], dim=1)
        passes = [Pass(contexts[branch.prompt], audio[branch.speech], reuse(branch)) for branch in branches]
        groups = [passes] if together else [[one] for one in passes]
        return [
            v for group in groups for v in transformer.forward_passes(seen, timestep, group, rotary=rotary)
        ]

    return predict


def encode_picture_conditions(
    models: JobModels, picture: Tensor, frames: int, end_picture: Tensor | None = None
) -> PictureConditions:
    """CLIP tokens and image latents of a picture (3, 1, H, W) that opens `frames` frames."""
    with models.image_encoder() as image_encoder:
        image_embeds = encode_picture(image_encoder, picture)
    with models.vae() as vae:
        image_latents = with_mask(
            encode(vae, reference_clip(picture, frames, end_picture), models.memory.encode_tile),
            end_picture is not None,
        )
    return PictureConditions(picture=picture, image_embeds=image_embeds, image_latents=image_latents)


def _regions(plan: GenerationPlan, source: Image.Image) -> SpeakerRegions:
    masks = speaker_masks(plan.request.speaker_boxes, source.height, source.width)
    return SpeakerRegions(token_masks(latent_masks(masks, plan.height, plan.width)))


def _encode_prompts(plan: GenerationPlan, models: JobModels) -> dict[str, Tensor]:
    wanted = list(plan.prompts)
    if any(scale != 1 for scale in plan.settings.guidance_scale):
        wanted.append(plan.settings.negative_prompt)

    def encode(missing: list[str]) -> dict[str, Tensor]:
        tokenizer = models.tokenizer()
        with models.text_encoder() as text_encoder:
            return {prompt: encode_prompt(text_encoder, tokenizer, prompt) for prompt in missing}

    files = [*models.files.text_encoder.files, models.files.tokenizer]
    return cached_prompts(wanted, prompt_key(files, models.dtype, models.device), encode)


def _encode_still(plan: GenerationPlan, models: JobModels, pixels: Tensor) -> PictureConditions:
    """Conditions of the source picture, which are those of every window."""
    end = plan.request.end_image
    end_pixels = None if end is None else fit_picture(load_picture(end), plan.height, plan.width)
    return encode_picture_conditions(models, pixels, plan.windows[0].frames, end_pixels)


def _source_picture(plan: GenerationPlan) -> Image.Image | None:
    """The picture; else of a video that goes on the first frame for talk, the last for another task; else the
    first of the video that talk follows. None for video from text.
    """
    if plan.models.image_encoder is None:
        return None
    if plan.request.image is not None:
        return load_picture(plan.request.image)
    if plan.old is not None:
        is_first = plan.task == TALK
        return Image.fromarray(read_frame_at(plan.old.path, 0) if is_first else plan.old.last_frames(1)[0])
    return Image.fromarray(read_frame_at(plan.request.video or "", 0, plan.settings.fps))


def _source_clip(plan: GenerationPlan) -> Tensor:
    """(3, frames, H, W): the source video at the plan's rate and size; its last frame fills what is
    missing.
    """
    frames = []
    for frame in read_frames(plan.request.video or "", plan.settings.fps):
        frames.append(fit_picture(Image.fromarray(frame), plan.height, plan.width))
        if len(frames) == plan.total_frames:
            break
    return torch.cat(frames + frames[-1:] * (plan.total_frames - len(frames)), dim=1)
