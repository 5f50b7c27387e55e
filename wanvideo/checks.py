"""What is refused: a request that no model could fulfil, and one that its own size and length forbid. What is
legal but hardly meant is doubted in a sentence.

Pure arithmetic.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wanvideo.defaults import SOURCES, SPEECH_FPS
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO_NAMES
from wanvideo.geometry import check_frames, check_size, speaker_halves, token_pixels, visible_part
from wanvideo.inputs import InputFacts
from wanvideo.media.input_file import MAX_SECONDS
from wanvideo.media.old_video import OldVideo
from wanvideo.media.probe import PictureFacts, VideoFacts
from wanvideo.registry import attention_backends, quantization_modes, resolve
from wanvideo.request import REQUEST_FIELDS, GenerationRequest, RuntimeOptions
from wanvideo.sampling.samplers import find_sampler

SAME_RATE = 0.01  # frames a second: 29.97 is 30000 / 1001
FEWEST_CELLS = 4  # tokens of a speaker; a mouth in fewer is a guess


def check_request(request: GenerationRequest, options: RuntimeOptions, facts: InputFacts) -> None:
    """Raises UserError for missing inputs, illegal sizes and lengths, and names that nothing has."""
    if facts.old is None:
        _check_sources(request)
    else:
        _check_going_on(request, facts.old)
    _check_boxes(request, facts)
    _check_lengths(request)
    if request.sampler is not None:
        find_sampler(request.sampler)
    _check_name(attention_backends(), options.attention, "attention")
    _check_name(quantization_modes(), options.quantization, "quantization")


def check_made(
    request: GenerationRequest,
    source: PictureFacts | VideoFacts | None,
    height: int,
    width: int,
    total_frames: int,
) -> None:
    """What only the decided size and length can tell. Raises UserError."""
    if request.end_image and total_frames == 1 and REQUEST_FIELDS["end_image"].is_for(request.task):
        raise UserError("end_image needs a longer video", value=1, allowed="5 frames or more")
    if source is not None and len(request.audio) == 2 and REQUEST_FIELDS["audio"].is_for(request.task):
        _check_seen(request, (source.height, source.width), (height, width))


def doubtful_speakers(
    request: GenerationRequest, source: PictureFacts | VideoFacts | None, target: tuple[int, int]
) -> Iterator[str]:
    """As `doubtful_boxes` for a request; nothing where nobody drew boxes, or fewer than two speak."""
    speaks = REQUEST_FIELDS["speaker_boxes"].is_for(request.task)
    if source is not None and speaks and len(request.audio) == 2:
        yield from doubtful_boxes(request.speaker_boxes, (source.height, source.width), target)


def doubtful_boxes(
    boxes: Sequence[Sequence[float]], source: tuple[int, int], target: tuple[int, int]
) -> Iterator[str]:
    """A sentence, without a full stop, for each thing about the speakers' boxes that is hardly meant.

    `boxes` are none or two, (x0, y0, x1, y1) in pixels of the picture; `source` and `target` are (height,
    width) of picture and video.
    """
    rows, columns = token_pixels(source, target)
    seen_rows, seen_columns = visible_part(source, target)
    for number, box in enumerate(boxes, start=1):
        x0, y0, x1, y1 = map(int, box)
        cells = sum(x0 <= x < x1 for x in columns) * sum(y0 <= y < y1 for y in rows)
        if cells < FEWEST_CELLS:
            yield f"speaker {number}'s box covers {cells} of the video's cells: a larger one helps"
        is_wide = box[0] < seen_columns.start or box[2] > seen_columns.stop
        if is_wide or box[1] < seen_rows.start or box[3] > seen_rows.stop:
            yield f"a part of speaker {number}'s box is outside of what the video shows"
    if boxes and _overlap(*boxes):
        yield "the speakers' boxes overlap: what lies in both follows either voice"


def _overlap(one: Sequence[float], two: Sequence[float]) -> bool:
    return max(one[0], two[0]) < min(one[2], two[2]) and max(one[1], two[1]) < min(one[3], two[3])


def _check_seen(request: GenerationRequest, source: tuple[int, int], target: tuple[int, int]) -> None:
    """Each speaker needs a token of the video, or one voice would move nobody's mouth."""
    rows, columns = token_pixels(source, target)
    for box in request.speaker_boxes or speaker_halves(*source):
        x0, y0, x1, y1 = map(int, box)
        if any(x0 <= x < x1 for x in columns) and any(y0 <= y < y1 for y in rows):
            continue
        what = "a speaker box lies" if request.speaker_boxes else "half of the picture, with a speaker, lies"
        seen_rows, seen_columns = visible_part(source, target)
        raise UserError(
            f"{what} outside what the video shows of the picture, or is too small",
            value=[x0, y0, x1, y1],
            allowed=f"{seen_columns[0]}, {seen_rows[0]} to {seen_columns.stop}, {seen_rows.stop}",
            fix="Draw the speaker boxes, or choose a size with the picture's proportions.",
        )


def _check_sources(request: GenerationRequest) -> None:
    sources = SOURCES[request.task]
    given = [name for name in sources if getattr(request, name)]
    if sources and not given:
        flags = " or ".join(f"--{name} FILE" for name in sources)
        raise UserError(f"{request.task} needs {' or '.join(sources)}", fix=f"Give {flags}.")
    if len(given) > 1:
        raise UserError(f"{request.task} takes {' or '.join(given)}, not both", fix="Leave one of them out.")


def _check_going_on(request: GenerationRequest, old: OldVideo) -> None:
    """One that goes on keeps size and rate of the old video; its start is the old end, so that no other
    source has a part in it. A speaker may have a picture to look like.
    """
    speaks, facts = REQUEST_FIELDS["audio"].is_for(request.task), old.facts
    for name in ("video",) if speaks else ("video", "image"):
        if getattr(request, name) is not None:
            raise UserError(f"{request.task} takes extends or {name}, not both", fix="Leave one of them out.")
    for name, kept in (("width", facts.width), ("height", facts.height), ("fps", facts.fps)):
        asked = getattr(request, name)
        if asked is not None and abs(asked - kept) > SAME_RATE:
            what = f"{name} must be that of the video to go on from"
            raise UserError(what, value=asked, allowed=f"{kept:g}", fix=f"Leave {name} out.")
    if speaks and request.audio and abs(facts.fps - SPEECH_FPS) > SAME_RATE:
        what, allowed = "speech can't go on from a video of this rate", f"{SPEECH_FPS:g} frames a second"
        raise UserError(what, value=f"{facts.fps:g}", allowed=allowed)


def check_continued(old: OldVideo, new_frames: int, lead_frames: int) -> None:
    """Raises UserError unless the old video holds the `lead_frames` that new ones follow, there are
    `new_frames`, and the whole is short enough to be a video.
    """
    name, facts = old.path.name, old.facts
    if facts.frames < lead_frames:
        what = f"{name} is too short to go on from, it has {facts.frames} frames"
        raise UserError(what, allowed=f"{lead_frames} or more (motion_frames)")
    if new_frames < 1:
        raise UserError("the new part has no frames of its own", value=new_frames, allowed="5 frames or more")
    seconds = facts.seconds + new_frames / facts.fps
    if seconds > MAX_SECONDS:
        most = f"{MAX_SECONDS / 3600:g} hours"
        raise UserError(f"{name} and its new part last too long", value=f"{seconds:.0f} s", allowed=most)


def _check_boxes(request: GenerationRequest, facts: InputFacts) -> None:
    if not REQUEST_FIELDS["speaker_boxes"].is_for(request.task):
        return
    old = facts.old.facts if facts.old else None
    count, source = len(request.speaker_boxes), facts.picture or facts.video or old
    if count not in (0, 2):
        raise UserError("speaker_boxes needs one box per speaker", value=count, allowed="0 or 2 boxes")
    for x0, y0, x1, y1 in request.speaker_boxes:
        if source and not (0 <= x0 < x1 <= source.width and 0 <= y0 < y1 <= source.height):
            inside = f"0, 0 to {source.width}, {source.height}"
            raise UserError("a speaker box lies outside the picture", value=[x0, y0, x1, y1], allowed=inside)


def _check_lengths(request: GenerationRequest) -> None:
    """The numbers a person gives; those that are computed are legal by themselves."""
    for name in ("width", "height"):
        if (pixels := getattr(request, name)) is not None:
            check_size(name, pixels)
    for name in ("num_frames", "window_frames", "motion_frames"):
        if (frames := getattr(request, name)) is not None:
            check_frames(name, frames)
    if (request.width is None) != (request.height is None):
        raise UserError("width and height go together", fix="Give both or neither.")
    if request.num_frames is not None and request.seconds is not None:
        raise UserError("give num_frames or seconds, not both", value=request.num_frames)
    hears = request.audio and REQUEST_FIELDS["audio"].is_for(request.task)
    if hears and request.fps not in (None, SPEECH_FPS):
        hint = "The model hears 25 speech frames a second; leave fps out."
        raise UserError("fps must be 25 with speech", value=request.fps, fix=hint)


def _check_name(table: Mapping[str, Any], name: str, what: str) -> None:
    if name not in AUTO_NAMES:
        resolve(table, name, what)
