"""Published defaults per task; a model's own profile goes before them, a set field before both."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO

NEGATIVE_ENGLISH = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, "
    "static, overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, "
    "extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, "
    "fused fingers, still picture, messy background, three legs, many people in the background, walking "
    "backwards"
)
NEGATIVE_CHINESE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走"
)

SPEECH_FPS = 25.0  # features of the speech encoder a second, one for each frame of the video

TASK_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        TALK: {
            "sampler": "multitalk",
            "num_inference_steps": 40,
            "guidance_scale": 5.0,
            "audio_guidance_scale": 4.0,
            "fps": 25.0,
            "window_frames": 81,
            "motion_frames": 9,
            "negative_prompt": NEGATIVE_ENGLISH,
        },
        IMAGE_TO_VIDEO: {
            "sampler": "unipc",
            "num_inference_steps": 40,
            "guidance_scale": 5.0,
            "fps": 16.0,
            "num_frames": 81,
            "negative_prompt": NEGATIVE_CHINESE,
        },
        TEXT_TO_VIDEO: {
            "sampler": "unipc",
            "num_inference_steps": 50,
            "guidance_scale": 5.0,
            "fps": 16.0,
            "num_frames": 81,
            "negative_prompt": NEGATIVE_CHINESE,
        },
    }
)

# (height, width) by the quality tier a model was trained for
NATIVE_SIZES: Mapping[int, tuple[int, int]] = MappingProxyType({480: (480, 832), 720: (720, 1280)})

# by quality tier of the size
FLOW_SHIFT: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {TALK: {480: 7.0, 720: 11.0}, IMAGE_TO_VIDEO: {480: 3.0, 720: 5.0}, TEXT_TO_VIDEO: {480: 5.0, 720: 5.0}}
)

# The fields that can give a task its picture; exactly one of them is needed
SOURCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {TALK: ("image", "video"), IMAGE_TO_VIDEO: ("image",), TEXT_TO_VIDEO: ()}
)
