"""What the request's files are, read from their headers: the planner's facts. Loads no pixels, no torch."""

from dataclasses import dataclass

from wanvideo.errors import UserError
from wanvideo.media.old_video import OldVideo, probe_old_video
from wanvideo.media.probe import PictureFacts, SoundFacts, VideoFacts, probe_picture, probe_sound, probe_video
from wanvideo.request import REQUEST_FIELDS, GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """Facts of the files a request names; None or empty where it names none. `old`: the video that it goes on
    from, if its task can.
    """

    picture: PictureFacts | None = None
    end_picture: PictureFacts | None = None
    video: VideoFacts | None = None
    old: OldVideo | None = None
    sounds: tuple[SoundFacts, ...] = ()


def inspect_inputs(request: GenerationRequest) -> InputFacts:
    """Probe every file of the request. Raises UserError naming the first one that can't be used."""
    if len(request.audio) > 2:
        raise UserError("too many speakers", value=len(request.audio), allowed="one or two sound files")
    extends = request.extends if REQUEST_FIELDS["extends"].is_for(request.task) else None
    return InputFacts(
        picture=probe_picture(request.image) if request.image else None,
        end_picture=probe_picture(request.end_image) if request.end_image else None,
        video=probe_video(request.video) if request.video else None,
        old=probe_old_video(extends, request.extends_from) if extends else None,
        sounds=tuple(probe_sound(path) for path in request.audio),
    )
