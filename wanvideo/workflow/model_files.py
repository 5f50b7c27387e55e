"""Model files by their base name: a workflow names them in folders that are not here, often with
backslashes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.folders import describe_folder, model_names
from wanvideo.checkpoint.lora_files import lora_names

MODEL, LORA = "transformer", "lora"  # the two whose file a request names


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """`named`: component -> base name -> names that a request may use. `companions`: base name -> component
    of the other usable files. `refused`: base name -> why a file can't be used. Base names are lower-case.
    """

    named: Mapping[str, Mapping[str, Sequence[str]]]
    companions: Mapping[str, str]
    refused: Mapping[str, str]


def find_model_files(folders: Sequence[Path]) -> ModelFiles:
    """What lies in the model folders."""
    usable, refused = describe_folder(folders)
    models = ((facts.path.name, name) for name, facts in model_names(usable).items())
    loras = ((path.name, name) for name, path in lora_names(folders).items())
    return ModelFiles(
        named={MODEL: _by_base(models), LORA: _by_base(loras)},
        companions={facts.path.name.lower(): facts.component for facts in usable},
        refused={refusal.path.name.lower(): refusal.sentence for refusal in refused},
    )


def base_name(written: str) -> str:
    """The file's own name in a path of any system, without the folder mark that ComfyUI puts behind it."""
    bare = re.sub(r" \[(input|output|temp)\]$", "", written.strip())
    return re.split(r"[\\/]", bare)[-1]


def _by_base(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file, name in pairs:
        found.setdefault(file.lower(), []).append(name)
    return found
