"""Damaged files, at random and on purpose: each ends in a sentence, whatever the reader below raises."""

import contextlib
import pickle
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.model_files import diffusion
from tests.checkpoint.samples import write_header
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.errors import UserError


def mutated(content: bytes, source: random.Random) -> bytes:
    """A few bytes changed, a piece cut out or the end cut off."""
    damaged = bytearray(content)
    for _ in range(source.randint(1, 6)):
        damaged[source.randrange(len(damaged))] = source.randrange(256)
    start = source.randrange(len(damaged))
    cuts = (slice(0, 0), slice(0, 0), slice(start, start + 9), slice(start, None))
    del damaged[source.choice(cuts)]
    return bytes(damaged)


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_no_damage_escapes(suffix: str, tmp_path: Path) -> None:
    state = {name: torch.zeros(shape[:1] + [1] * len(shape[1:])) for name, shape in diffusion(4).items()}
    path = tmp_path / f"model.{suffix}"
    if suffix == "safetensors":
        write_header(path, {name: ("F32", list(tensor.shape)) for name, tensor in state.items()})
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == "pth")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("model/data.pkl", pickle.dumps({"a": 1}, protocol=2) * 9)
    contents = [path.read_bytes(), *([(tmp_path / "packed.pth").read_bytes()] * (suffix == "pth"))]
    source = random.Random(0)
    for turn in range(600):
        path.write_bytes(mutated(contents[turn % len(contents)], source))
        with contextlib.suppress(UserError):
            inspect_checkpoint(path)


def test_a_damaged_number_takes_no_memory(tmp_path: Path) -> None:
    """An entry of the memo far behind the others: only the number is large."""
    (tmp_path / "old.pt").write_bytes(b"\x80\x02}r" + (1 << 25).to_bytes(4, "little") + b".")
    tracemalloc.start()
    with pytest.raises(UserError, match="damaged"):
        inspect_checkpoint(tmp_path / "old.pt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_pickle_that_contains_itself_ends(tmp_path: Path) -> None:
    wrapped: dict[str, Any] = {}
    wrapped["state_dict"] = wrapped
    torch.save(wrapped, tmp_path / "circle.pth")
    with pytest.raises(UserError, match="no named tensors"):
        inspect_checkpoint(tmp_path / "circle.pth")
