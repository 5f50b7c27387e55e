"""What a person asks for: the request (what to make) and the options (how this machine should run it).

Both are one table: flags of the command line, JSON keys, presets and the page all read it. None means "the
planner fills it in from the task and the model". Standard library only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wanvideo.fields import LoraChoice, read_values, row, table_of
from wanvideo.options import AS_STORED as AS_STORED
from wanvideo.options import RuntimeOptions as RuntimeOptions

TALK, IMAGE_TO_VIDEO, TEXT_TO_VIDEO = "talk", "image_to_video", "text_to_video"
TASKS = (TALK, IMAGE_TO_VIDEO, TEXT_TO_VIDEO)
PICTURED = (TALK, IMAGE_TO_VIDEO)  # tasks that begin with a picture
RANDOM_SEED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to make. A field that is None is decided by the planner from the task, the inputs and the
    model.
    """

    task: str = row(
        "choice", TALK, "Task", "talk, image_to_video or text_to_video", choices=TASKS, flag="--task"
    )
    model: str | None = row(
        "text", None, "Model", "name of an installed model or path of a diffusion model file", flag="--model"
    )
    prompt: str = row(
        "text", "", "Prompt", "what happens; | separates the prompts of successive windows", flag="--prompt"
    )
    negative_prompt: str | None = row(
        "text",
        None,
        "Negative prompt",
        "what to avoid; no effect at guidance 1",
        flag="--negative-prompt",
        aliases=("n_prompt",),
    )
    image: str | None = row(
        "path", None, "Picture", "the picture that speaks or moves", tasks=PICTURED, flag="--image"
    )
    end_image: str | None = row(
        "path", None, "End picture", "the picture to arrive at", tasks=(IMAGE_TO_VIDEO,), flag="--end-image"
    )
    video: str | None = row(
        "path",
        None,
        "Source video",
        "talk: the video to give a voice; otherwise the video to start from, with denoise_strength",
        flag="--video",
    )
    extends: str | None = row(
        "path",
        None,
        "Extend",
        "a finished video that this one goes on from",
        tasks=PICTURED,
        flag="--extend",
        aliases=("extend",),
    )
    extends_from: float | None = row(
        "float",
        None,
        "Extend from",
        "seconds of that video to keep; all of it when empty",
        low=0.04,
        high=10_800,
        tasks=PICTURED,
        flag="--extend-from",
        aliases=("extend_from",),
    )
    audio: tuple[str, ...] = row(
        "paths", (), "Speech", "one per speaker, two at most; none = silence", tasks=(TALK,), flag="--audio"
    )
    audio_order: str = row(
        "choice",
        "together",
        "Two speakers speak",
        "together, or one after the other",
        choices=("together", "sequence"),
        tasks=(TALK,),
    )
    audio_start: float = row(
        "float",
        0.0,
        "Speech from",
        "seconds of the speech that are over when the new frames begin",
        low=0,
        high=10_800,
        tasks=(TALK,),
        flag="--audio-start",
    )
    speaker_boxes: tuple[tuple[float, float, float, float], ...] = row(
        "boxes",
        (),
        "Speaker boxes",
        "[x0, y0, x1, y1] of each speaker in picture pixels (x = columns); the two halves when empty",
        tasks=(TALK,),
    )
    width: int | None = row(
        "int", None, "Width", "pixels, a multiple of 16", low=16, high=4096, flag="--width"
    )
    height: int | None = row(
        "int", None, "Height", "pixels, a multiple of 16", low=16, high=4096, flag="--height"
    )
    num_frames: int | None = row(
        "int",
        None,
        "Frames",
        "4n+1, like 81; any other length by seconds",
        low=1,
        high=100_000,
        aliases=("frame_num",),
        flag="--num-frames",
    )
    seconds: float | None = row(
        "float",
        None,
        "Seconds",
        "length instead of frames; talk: the speech's own length when empty",
        low=0.04,
        high=4000,
        flag="--seconds",
    )
    fps: float | None = row("float", None, "Frames per second", "25 with speech", low=1, high=120)
    num_inference_steps: int | None = row(
        "int",
        None,
        "Steps",
        "denoising steps per window",
        low=1,
        high=1000,
        aliases=("steps", "sample_steps"),
        flag="--steps",
    )
    guidance_scale: float | tuple[float, ...] | None = row(
        "floats",
        None,
        "Guidance",
        "how strictly to follow the prompt: a number or one per step; 1 = one pass less, no negative prompt",
        low=0,
        high=50,
        aliases=("cfg", "guidance"),
        flag="--guidance",
    )
    audio_guidance_scale: float | None = row(
        "float",
        None,
        "Audio guidance",
        "how strongly the mouth follows the sound; 1 = one pass less",
        low=0,
        high=50,
        tasks=(TALK,),
        aliases=("audio_guidance", "audio_cfg"),
        flag="--audio-guidance",
    )
    apg: bool = row(
        "bool",
        False,
        "Adaptive projected guidance",
        "keeps colours calm at high guidance",
        tasks=(TALK,),
        aliases=("use_apg",),
    )
    flow_shift: float | None = row(
        "float",
        None,
        "Flow shift",
        "above 1: more of the steps at high noise",
        low=0.01,
        high=100,
        aliases=("shift",),
        flag="--shift",
    )
    sampler: str | None = row(
        "name",
        None,
        "Sampler",
        "how noise becomes a video, like unipc, dpm++ or euler; a wrong name is answered with near ones",
        aliases=("scheduler",),
        flag="--sampler",
    )
    seed: int = row(
        "int", RANDOM_SEED, "Seed", "-1 = random; the result tells which", low=-1, high=2**62, flag="--seed"
    )
    count: int = row(
        "int", 1, "Variations", "this many videos: seed, seed + 1, ...", low=1, high=100, flag="--count"
    )
    denoise_strength: float = row(
        "float",
        1.0,
        "Denoise strength",
        "below 1: start from the source video instead of noise",
        low=0,
        high=1,
        tasks=(IMAGE_TO_VIDEO, TEXT_TO_VIDEO),
    )
    start_step: int = row("int", 0, "First step", "start of the slice of the schedule", low=0, high=999)
    end_step: int | None = row("int", None, "End step", "end of the slice of the schedule", low=1, high=1000)
    window_frames: int | None = row(
        "int", None, "Window", "frames made at a time, 4n+1", low=5, high=1001, tasks=(TALK,)
    )
    motion_frames: int | None = row(
        "int",
        None,
        "Motion frames",
        "frames handed from window to window, 4n+1",
        low=1,
        high=101,
        tasks=(TALK,),
        aliases=("motion_frame",),
    )
    color_correction: float = row(
        "float",
        1.0,
        "Colour correction",
        "pull frames to the picture's colours",
        low=0,
        high=1,
        tasks=(TALK,),
    )
    separate_vocals: bool = row(
        "bool",
        False,
        "Separate vocals",
        "the model hears the voice without music and noise; the video keeps the whole sound",
        tasks=(TALK,),
        flag="--separate-vocals",
    )
    riflex_freq_index: int = row(
        "int", 0, "RIFLEx frequency", "0 off; keeps very long clips from repeating", low=0, high=20
    )
    loras: tuple[LoraChoice, ...] = row(
        "loras",
        (),
        "LoRAs",
        "file, or name in the folder loras, with :STRENGTH behind it; strength: a number, or one per step",
        low=-10,
        high=10,
        aliases=("lora",),
        flag="--lora",
    )


REQUEST_FIELDS = table_of(GenerationRequest)
OPTION_FIELDS = table_of(RuntimeOptions)


def read_request(values: Mapping[str, Any]) -> GenerationRequest:
    """A full request from a partial mapping whose keys may be aliases. Raises UserError."""
    return GenerationRequest(**read_values(REQUEST_FIELDS, values))


def read_options(values: Mapping[str, Any]) -> RuntimeOptions:
    """Full options from a partial mapping. Raises UserError."""
    return RuntimeOptions(**read_values(OPTION_FIELDS, values))


def split_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One flat mapping -> (request part, options part); a key of neither stays in the request part, to be
    refused there.
    """
    options = {alias for name, row_ in OPTION_FIELDS.items() for alias in (name, *row_.aliases)}
    asked = {key: value for key, value in values.items() if key not in options}
    return asked, {key: value for key, value in values.items() if key in options}


def to_mapping(settings: GenerationRequest | RuntimeOptions) -> dict[str, Any]:
    """JSON-ready mapping of the fields that differ from their defaults; `read_*` gives the same object
    back.
    """
    defaults = {item.name: item.default for item in fields(settings)}
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """One sign of life. `step` of `steps` within `window` of `windows`; `preview` is a small uint8 picture
    (h, w, 3).
    """

    stage: str
    window: int = 0
    windows: int = 1
    step: int = 0
    steps: int = 0
    message: str = ""
    preview: Any = None


def ignore_progress(event: ProgressEvent) -> None:
    """The progress callback of those who do not watch. A callback stops the work by raising Cancelled."""
