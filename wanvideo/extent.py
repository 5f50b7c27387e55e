"""How large, how long and in how many windows a video is made. Pure arithmetic."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checks import check_continued, check_made
from wanvideo.defaults import NATIVE_SIZES, SPEECH_FPS
from wanvideo.errors import UserError
from wanvideo.geometry import area_size, bucket_size, nearest_frames, quality_tier
from wanvideo.inputs import InputFacts
from wanvideo.media.old_video import OldVideo
from wanvideo.media.probe import PictureFacts, VideoFacts
from wanvideo.request import REQUEST_FIELDS, GenerationRequest
from wanvideo.windows import Window, plan_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`height` and `width` in pixels; `total_frames`, all of them new, are cut into `windows`, each with its
    prompt.
    """

    height: int
    width: int
    total_frames: int
    windows: tuple[Window, ...]
    prompts: tuple[str, ...]

    @property
    def tier(self) -> int:
        """480 or 720."""
        return quality_tier(self.height, self.width)

    @property
    def window_size(self) -> tuple[int, int, int]:
        """(frames, height, width) of each window."""
        return self.window_frames, self.height, self.width

    @property
    def window_frames(self) -> int:
        """Of each window."""
        return self.windows[0].frames


def decide_extent(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts, models: ModelSet, steps: range
) -> Extent:
    """`asked` as `with_defaults` gives it; `steps` run. Raises UserError for a size or a length that can't be
    made.
    """
    total_frames, windows = find_length(request, asked, facts)
    source = find_source(request, facts, steps)
    if facts.old is None:
        height, width = find_size(request, source, models)
    else:
        height, width = facts.old.facts.height, facts.old.facts.width
        check_continued(facts.old, total_frames, windows[0].skip)
    check_made(request, source, height, width, total_frames)
    return Extent(
        height=height,
        width=width,
        total_frames=total_frames,
        windows=windows,
        prompts=prompts_of(request.prompt, len(windows)),
    )


def speaks(task: str) -> bool:
    """Whether its videos follow a voice, window by window, as long as it lasts."""
    return REQUEST_FIELDS["audio"].is_for(task)


def find_source(
    request: GenerationRequest, facts: InputFacts, steps: range
) -> PictureFacts | VideoFacts | None:
    """The picture or video that the result shows; None for a task, or steps, that look at neither."""
    if facts.picture is not None and REQUEST_FIELDS["image"].is_for(request.task):
        return facts.picture
    if facts.old is not None:
        return facts.old.facts
    return facts.video if speaks(request.task) or steps.start > 0 else None


def find_size(
    request: GenerationRequest, source: PictureFacts | VideoFacts | None, models: ModelSet
) -> tuple[int, int]:
    """(height, width): as asked, else from the source's aspect and the model's native size."""
    if request.width is not None and request.height is not None:
        return request.height, request.width
    native_height, native_width = NATIVE_SIZES[models.profile.tier]
    ratio = source.height / source.width if source else native_height / native_width
    if models.profile.area is not None:
        return area_size(ratio if source else 1.0, models.profile.area)
    if speaks(request.task):
        return bucket_size(ratio, models.profile.tier)
    return area_size(ratio, native_height * native_width)


def find_length(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts
) -> tuple[int, tuple[Window, ...]]:
    """(new frames of the video, its windows). `asked` as `with_defaults` gives it. What goes on from an old
    video begins with its motion frames, or its last frame where the task has none. Raises UserError for
    motion frames that leave a window no new ones.
    """
    fps = float(asked["fps"])
    if not speaks(request.task):
        frames = nearest_frames(request.seconds, fps) if request.seconds is not None else asked["num_frames"]
        lead = 0 if facts.old is None else 1
        return frames - lead, plan_windows(frames - lead, frames, 0, lead)
    window_frames, motion_frames = asked["window_frames"], asked["motion_frames"]
    if motion_frames >= window_frames:
        raise UserError(
            "motion_frames must be fewer than window_frames",
            value=motion_frames,
            allowed=f"1 to {window_frames - 4}",
        )
    lead = 0 if facts.old is None else motion_frames
    if request.seconds is not None:
        total = max(1, round(request.seconds * fps))
    else:
        total = request.num_frames or speech_frames(request, facts) or window_frames - lead
    return total, plan_windows(total, window_frames, motion_frames, lead)


def speech_frames(request: GenerationRequest, facts: InputFacts) -> int:
    """Length of the speech in frames, less what is over before; 0 for silence. Raises UserError when nothing
    of it is left.
    """
    lengths = [sound.seconds for sound in facts.sounds]
    if not lengths:
        return 0
    seconds = sum(lengths) if request.audio_order == "sequence" else max(lengths)
    if seconds <= request.audio_start:
        what = "the speech is over before audio_start"
        fix = "Give the length of the silence in seconds, or a smaller audio_start."
        raise UserError(what, value=f"{request.audio_start:g}", allowed=f"0 to {seconds:.2f}", fix=fix)
    return max(1, int(seconds * SPEECH_FPS) - round(request.audio_start * SPEECH_FPS))


def notes_of_old(request: GenerationRequest, old: OldVideo | None, extent: Extent) -> Iterator[str]:
    """What is to be said of a video that is gone on from."""
    if old is None:
        return
    if old.is_cut:
        yield f"{old.path.name} is kept for its first {old.facts.seconds:.2f} seconds"
    if not old.is_like_ours:
        yield f"{old.path.name} is coded in another way than new videos: its pictures are encoded once more"
    if request.num_frames is not None and request.num_frames != extent.total_frames:
        repeated = f"frame 1 of num_frames {request.num_frames} is the last one of {old.path.name}"
        yield f"{repeated}: {extent.total_frames} are new"
    is_heard = request.audio_start * SPEECH_FPS >= extent.windows[0].skip
    if speaks(request.task) and len(request.audio) > 1 and not is_heard:
        yield f"which speaker {old.path.name} ends with is not known: the first window begins in silence"


def prompts_of(prompt: str, windows: int) -> tuple[str, ...]:
    """One prompt per window from parts split at |; the last part goes on."""
    parts = [part.strip() for part in prompt.split("|")]
    return tuple((parts + parts[-1:] * windows)[:windows])
