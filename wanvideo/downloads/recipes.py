"""The recipes: what one download brings, and the settings it is meant for."""

import difflib
from collections.abc import Mapping

from wanvideo.downloads import catalog as known
from wanvideo.downloads.catalog import FILES, KnownFile, Recipe
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO

_IN_4_STEPS = {
    "num_inference_steps": 4,
    "guidance_scale": 1.0,
    "flow_shift": 5.0,
    "loras": [{"file": known.DISTILL_LORA.file_name, "strength": 1.0}],
}
_PICTURE = (known.I2V_480P, known.VAE, known.UMT5, known.CLIP)
_TALK = (*_PICTURE, known.INFINITETALK_FP8, known.WAV2VEC2, known.DISTILL_LORA)

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="talk-480p-fp8",
            title="Talk 480p in fp8, 4 steps",
            task=TALK,
            files=_TALK,
            request={"task": TALK, **_IN_4_STEPS, "audio_guidance_scale": 1.0},
            options={"quantization": "fp8_e4m3fn_scaled"},
            note="for a card with 24 GB, or 16 GB with block swap",
        ),
        Recipe(
            name="talk-480p-12gb",
            title="Talk 480p on 12 GB",
            task=TALK,
            files=_TALK,
            request={"task": TALK, **_IN_4_STEPS, "audio_guidance_scale": 1.0},
            options={"quantization": "fp4_scaled"},
            note="the same files; the big weights are made 4 bit once, on your disk",
        ),
        Recipe(
            name="image-480p",
            title="Image to video 480p",
            task=IMAGE_TO_VIDEO,
            files=(*_PICTURE, known.DISTILL_LORA),
            request={"task": IMAGE_TO_VIDEO, **_IN_4_STEPS},
            options={"quantization": "fp8_e4m3fn_scaled"},
        ),
        Recipe(
            name="text-1.3b",
            title="Text to video 1.3B",
            task=TEXT_TO_VIDEO,
            files=(known.T2V_1_3B, known.VAE, known.UMT5),
            request={"task": TEXT_TO_VIDEO},
            note="the smallest one; 8 GB cards and larger",
        ),
        Recipe(
            name="melband",
            title="Vocal separation",
            files=(known.MELBAND,),
            note="lips follow the voice alone when there is music behind it",
        ),
        Recipe(
            name="umt5-tokenizer",
            title="Tokenizer of UMT5",
            files=(known.UMT5_TOKENIZER,),
            note="only for a text encoder file that brings none",
        ),
    )
}


def files_of(name: str) -> tuple[KnownFile, ...]:
    """The files that a recipe or a known file of that name means. Raises UserError with near names."""
    if name in RECIPES:
        return RECIPES[name].files
    if name in FILES:
        return (FILES[name],)
    names = [*RECIPES, *FILES]
    near = difflib.get_close_matches(name, names, n=3)
    raise UserError("unknown download", value=name, allowed=near or dict.fromkeys(names))
