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

from tests.checkpoint.gguf_files import write_gguf_file
from tests.checkpoint.model_files import diffusion
from tests.checkpoint.samples import write_header
from wanvideo.checkpoint.header import MAX_HEADER_BYTES, MAX_HEADER_PARTS
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_vae
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


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors", "gguf"])
def test_no_damage_escapes(suffix: str, tmp_path: Path) -> None:
    state = {name: torch.zeros(shape[:1] + [1] * len(shape[1:])) for name, shape in diffusion(4).items()}
    path = tmp_path / f"model.{suffix}"
    if suffix == "safetensors":
        write_header(path, {name: ("F32", list(tensor.shape)) for name, tensor in state.items()})
    elif suffix == "gguf":
        write_gguf_file(path, state)
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


def entry(name: str, begin: int, end: int) -> str:
    return f'"{name}": {{"dtype": "F32", "shape": [{(end - begin) // 4}], "data_offsets": [{begin}, {end}]}}'


MANY = ",".join(f'"{index}": []' for index in range(MAX_HEADER_PARTS // 2))
HEADERS: dict[str, bytes] = {
    "a name twice": f"{{{entry('a', 0, 16)}, {entry('a', 16, 32)}}}".encode(),
    "a field twice": b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [4], "data_offsets": [0, 16]}}',
    "deep": b'{"a": ' + b"[" * 200_000,
    "not UTF-8": b'{"\xff\xfe": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}',
    "half a pair": b'{"\\ud800": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}',
    "not a number": b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}',
    "a long number": b'{"a": {"dtype": "F32", "shape": [' + b"9" * 100_000 + b'], "data_offsets": [0, 16]}}',
    "many parts": f"{{{MANY}}}".encode(),
    "far offsets": b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [1152921504606846976, 16]}}',
    "texts": b'{"__metadata__": [1]}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(HEADERS[name]).to_bytes(8, "little") + HEADERS[name] + bytes(64))
    with pytest.raises(UserError, match="The header of a.safetensors is damaged"):
        inspect_checkpoint(path)


@pytest.mark.parametrize("filling", ["[],", "{},", '"\U0001f600",', "1,"])
def test_the_largest_header_takes_bounded_memory(filling: str, tmp_path: Path) -> None:
    """The most parts there may be, the rest of the length one text; a wide letter makes all of it wide."""
    listed = filling * (MAX_HEADER_PARTS // (2 if filling[0] in "[{" else 1) - 8)
    start, end = f'{{"a": [{listed}"", "'.encode(), '\U0001f600"]}'.encode()
    text = start + b"x" * (MAX_HEADER_BYTES - len(start) - len(end)) + end
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    del text, start, listed
    tracemalloc.start()
    with pytest.raises(UserError, match="header of a.safetensors is damaged"):
        inspect_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_gap_between_tensors_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    shapes = {
        "decoder.middle.0.residual.0.gamma": [8, 1, 1, 1],
        "conv2.weight": [16, 16, 1, 1, 1],
        "encoder.conv1.weight": [8, 3, 3, 3, 3],
    }
    path = write_header(tmp_path / "a.safetensors", {name: ("F32", shape) for name, shape in shapes.items()})
    facts = inspect_checkpoint(path)
    with path.open("ab") as file:
        file.write(bytes(64))
    with pytest.raises(UserError, match="a.safetensors is damaged"):
        load_vae(facts)
