"""Reference material of the tests: key sets of published files, goldens, small files in official names."""

import gzip
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parents[1] / "data"
GOLDEN_FOLDERS = (DATA / "goldens", Path(__file__).parents[3] / "shared/goldens")

COMPONENTS = {  # start of a manifest's name -> component
    "clip_xlm": "image_encoder",
    "infinitetalk_full": "transformer",
    "infinitetalk_": "infinitetalk",
    "umt5": "text_encoder",
    "wan2_1_vae": "vae",
    "wan2_1": "transformer",
    "wav2vec2": "speech_encoder",
}


@cache
def manifests() -> dict[str, dict[str, list[int]]]:
    """File -> name -> shape, for every published file."""
    content: dict[str, dict[str, list[int]]] = json.loads(
        gzip.decompress((DATA / "manifests.json.gz").read_bytes())
    )
    return content


def component_of(manifest: str) -> str:
    return next(component for start, component in COMPONENTS.items() if manifest.startswith(start))


def meta_state(manifest: str) -> dict[str, Tensor]:
    """The published file as meta tensors: names and shapes, no bytes."""
    return {name: torch.empty(shape, device="meta") for name, shape in manifests()[manifest].items()}


def golden_path(name: str) -> Path:
    """A golden file; the test is skipped when neither the project nor its neighbour has it."""
    found = next((folder / name for folder in GOLDEN_FOLDERS if (folder / name).is_file()), None)
    if found is None:
        pytest.skip(f"{name} is not part of the repository and there is no ../shared beside it")
    return found


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and the `info` of a golden file."""
    path = golden_path(name)
    with safe_open(path, "pt") as file:
        info = json.loads(file.metadata()["info"])
    return load_file(path), info


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).abs().max() / reference.abs().max())


def write_header(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """A valid safetensors file of zeros: name -> (dtype, shape)."""
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * sizes[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return path


def shrunk(manifest: str, factor: int) -> dict[str, list[int]]:
    """The names of a published file with its wide dimensions divided by `factor`."""
    return {
        name: [size // factor if size > 4 * factor and size % factor == 0 else size for size in shape]
        for name, shape in manifests()[manifest].items()
    }


def small_vocabulary() -> bytes:
    """The content of a spiece.model file with 40 pieces at most, end of text at 1 as in UMT5."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a cat speaks to a bear", "the robot smiles"]),
        model_writer=content,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return content.getvalue()
