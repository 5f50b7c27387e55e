"""The bundled inputs that a newcomer can click: a picture, one or two voices, and words."""

from pathlib import Path
from typing import NamedTuple

EXAMPLE_INPUTS = ("image", "audio", "prompt")


class Example(NamedTuple):
    """File names in the examples folder; an empty second voice means one speaker."""

    picture: str
    voice: str
    second_voice: str
    prompt: str


EXAMPLES = (
    Example("girl.png", "hello.wav", "", "a cartoon girl with long brown hair is talking outdoors"),
    Example(
        "boy.png", "answer.wav", "", "a cartoon boy with glasses is talking in a room with a yellow wall"
    ),
    Example("cat.png", "nihao.wav", "", "an orange cat is talking with soft lights behind"),
    Example("bear.png", "answer.wav", "", "a brown bear with a green woolly hat is talking"),
    Example("robot.png", "hello.wav", "", "a blue robot is talking in front of green stripes"),
    Example("pair.png", "hello.wav", "answer.wav", "a cartoon woman and a cartoon man are talking in a room"),
)


def example_rows(folder: Path) -> list[list[str | None]]:
    """One row of EXAMPLE_INPUTS' widgets for each example whose files are all there."""
    rows = []
    for example in EXAMPLES:
        files = [str(folder / name) if name else None for name in example[:3]]
        if all(Path(file).exists() for file in files if file):
            rows.append([*files, example.prompt])
    return rows
