"""What there is to do in a job, in numbers: the size of a window, passes, frames for the VAE."""

from dataclasses import dataclass, replace

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.geometry import FRAME_STEP, SIZE_STEP, area_size, latent_frames
from wanvideo.memory.sizes import ModelSizes
from wanvideo.registry import AttentionBackend, AttentionPlace
from wanvideo.request import REQUEST_FIELDS, GenerationRequest
from wanvideo.settings import Settings, may_start_from_video
from wanvideo.step_cache.row import CacheForecast, StepCachePlan
from wanvideo.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`frames`, `height` and `width` are those of one window, in pixels; of `windows` there are so many.

    `passes`: forward passes of the transformer in each step. `prompts` are encoded once each. The VAE encodes
    `picture_frames` before the first window, and with each window `first_frames` or `later_frames`.
    `speech_seconds`: of all speakers together. `follows_video`: each window has a picture of its own.
    """

    frames: int
    height: int
    width: int
    windows: int = 1
    passes: tuple[int, ...] = (1,)
    speakers: int = 1
    prompts: int = 1
    picture_frames: int = 0
    first_frames: int = 0
    later_frames: int = 0
    speech_seconds: float = 0.0
    follows_video: bool = False
    has_picture: bool = False

    @property
    def frame_tokens(self) -> int:
        """Tokens of a latent frame."""
        return (self.height // SIZE_STEP) * (self.width // SIZE_STEP)

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return latent_frames(self.frames) * self.frame_tokens

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.height * self.width

    @property
    def most_passes(self) -> int:
        """In one step."""
        return max(self.passes, default=1)

    @property
    def encodes_between(self) -> bool:
        """Whether the VAE works after the diffusion model has come to the card."""
        return self.windows > 1 and self.later_frames > 0

    def shorter(self, frames: int) -> "Work":
        """With so many frames in a window."""
        return replace(self, frames=frames)

    def smaller(self, area: int) -> "Work":
        """With about so many pixels in a frame, of the same proportions."""
        height, width = area_size(self.height / self.width, area)
        return replace(self, height=height, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The work, the models for it, and how they attend. `matmul` is a key of `Rates.matmul`, `kind` names
    jobs that go alike: what a measurement of one tells of another. `joined`: query, key and value are one
    product.
    """

    work: Work
    sizes: ModelSizes
    backend: AttentionBackend
    per_block_mean: str = "auto"
    matmul: str = ""
    kind: str = ""
    cache: CacheForecast = CacheForecast()
    joined: bool = False
    compiled: bool = False

    def as_compiled(self) -> "Job":
        """With compiled blocks."""
        return replace(self, compiled=True, kind=compiled_kind(self.kind))

    @property
    def place(self) -> AttentionPlace:
        """Its first self-attention."""
        return AttentionPlace(
            frames=latent_frames(self.work.frames),
            frame_tokens=self.work.frame_tokens,
            speakers=self.work.speakers,
            per_block_mean=self.per_block_mean,
            steps=len(self.work.passes),
        )


def job_kind(
    task: str,
    models: ModelSet,
    quantization: str,
    attention: str,
    cache: StepCachePlan,
    vae_dtype: str = "fp32",
) -> str:
    """What jobs that go alike have in common."""
    facts = models.transformer
    kind = f"{task} {facts.dim}x{facts.num_layers} {quantization} {attention}"
    kind += "" if vae_dtype == "fp32" else f" VAE {vae_dtype}"
    return f"{kind} {cache.name} {cache.threshold:g}" if cache.is_on else kind


def compiled_kind(kind: str) -> str:
    """That of the same jobs with compiled blocks."""
    return f"{kind} compiled"


def work_of(
    request: GenerationRequest,
    settings: Settings,
    models: ModelSet,
    size: tuple[int, int],
    windows: tuple[Window, ...],
    prompts: int,
) -> Work:
    """`size` is (height, width); so many different `prompts` there are, without the negative one."""
    first, last = windows[0], windows[-1]
    speaks = REQUEST_FIELDS["audio"].is_for(request.task)
    follows = speaks and request.video is not None
    has_picture = models.image_encoder is not None
    voices = len(request.audio) if speaks else 0
    picture_frames = first.frames if has_picture and not follows else 0
    if may_start_from_video(request) and settings.steps.start:
        picture_frames += first.frames
    each = first.frames if follows else 0
    return Work(
        frames=first.frames,
        height=size[0],
        width=size[1],
        windows=len(windows),
        passes=tuple(_passes(settings, step, speaks) for step in settings.steps),
        speakers=max(1, voices),
        prompts=prompts + any(scale != 1 for scale in settings.guidance_scale),
        picture_frames=picture_frames,
        first_frames=each + max(1, first.skip) if speaks else 0,
        later_frames=each + settings.motion_frames if speaks else 0,
        speech_seconds=max(1, voices) * (last.start + last.frames) / settings.fps if speaks else 0.0,
        follows_video=follows,
        has_picture=has_picture,
    )


def _passes(settings: Settings, step: int, speaks: bool) -> int:
    return 1 + (settings.guidance_scale[step] != 1) + (speaks and settings.audio_guidance_scale != 1)


def shorter_lengths(frames: int) -> range:
    """Legal numbers of frames below this one, the longest first."""
    return range((frames - 2) // FRAME_STEP * FRAME_STEP + 1, FRAME_STEP, -FRAME_STEP)
