"""The short run of `python -m tools.fuzz_headers`, the same files each time; and files made on purpose."""

import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tools.fuzz_headers.fuzzing import SAMPLES, Tally, TooSlowError, check, run
from tools.fuzz_headers.samples import TEXT
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.errors import UserError

EXAMPLES = {"safetensors": 500, "gguf": 500, "pickle": 250}  # about three seconds each


@pytest.mark.parametrize("kind", SAMPLES)
def test_damaged_files_end_in_a_sentence(kind: str, tmp_path: Path) -> None:
    tally = Tally()
    run(kind, tmp_path, tally, number=0, examples=EXAMPLES[kind])
    assert tally.cases == tally.refused + tally.loaded + tally.unloadable >= EXAMPLES[kind]
    assert tally.refused > tally.cases / 4 and tally.loaded > 0


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_samples_themselves_are_accepted(kind: str, tmp_path: Path) -> None:
    components = set()
    for sample in SAMPLES[kind]():
        path = tmp_path / f"model{sample.suffix}"
        path.write_bytes(sample.join(sample.pieces))
        components.add(inspect_checkpoint(path).component)
    assert components == {"transformer", "text_encoder"}


def _far_memo() -> bytes:
    return b"\x80\x02}r" + (1 << 25).to_bytes(4, "little") + b"."


def _deep() -> bytes:
    return struct.pack("<Q", 90_000) + b"[" * 90_000


def _many_texts() -> bytes:
    """GGUF that announces 2^60 texts and brings none."""
    key = b"general.tags"
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    return head + struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 8, 1 << 60)


def _runs_code() -> bytes:
    class Touch:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return exec, ("import pathlib; pathlib.Path('touched').touch()",)

    return pickle.dumps({"state_dict": Touch()}, protocol=2)


def _wide_number() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[' + b"9" * 60_000 + b'],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)


HOSTILE = {
    "a memo entry far out": (".pt", _far_memo),
    "deep JSON": (".safetensors", _deep),
    "a number of 60,000 digits": (".safetensors", _wide_number),
    "a length of 2^60": (".safetensors", lambda: struct.pack("<Q", 1 << 60) + b"{}"),
    "2^60 texts": (".gguf", _many_texts),
    "a pickle that runs code": (".pt", _runs_code),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suffix, content = HOSTILE[name]
    (tmp_path / f"model{suffix}").write_bytes(content())
    tally = Tally()
    check(tmp_path / f"model{suffix}", tally)
    assert tally.refused == 1 and tally.peak_bytes < 10_000_000
    assert [path.name for path in tmp_path.iterdir()] == [f"model{suffix}"]


def test_a_bomb_stays_small(tmp_path: Path) -> None:
    """A packed zip of one text of 15 MB: as large as the list of tensors may be."""
    content = b"\x80\x02X" + struct.pack("<I", 15_000_000) + bytes(15_000_000) + b"."
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", content)
    assert (tmp_path / "bomb.pth").stat().st_size < 1_000_000
    check(tmp_path / "bomb.pth", Tally())


def test_a_name_that_is_a_number(tmp_path: Path) -> None:
    """The header reads it as text; the weights must come under the same name, or be refused."""
    state: dict[object, torch.Tensor] = {name: torch.zeros(shape) for name, shape in TEXT.items()}
    torch.save({**state, 7: torch.zeros(1)}, tmp_path / "model.pth")
    check(tmp_path / "model.pth", Tally())


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # a file is a large example
def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself must be able to fail."""

    def broken(path: Path) -> None:
        raise KeyError(path.name)

    monkeypatch.setattr("tools.fuzz_headers.fuzzing.inspect_checkpoint", broken)
    with pytest.raises(KeyError):
        run("gguf", tmp_path, Tally(), number=0, examples=5)


def test_too_much_memory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(path: Path) -> None:
        held = bytearray(80 << 20)
        raise UserError(f"{path.name} of {len(held)}")

    monkeypatch.setattr("tools.fuzz_headers.fuzzing.inspect_checkpoint", greedy)
    with pytest.raises(AssertionError, match="80 MiB before the file was accepted"):
        check(tmp_path / "any", Tally())


def test_a_hang_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.fuzz_headers.fuzzing.SECONDS", 0.05)
    monkeypatch.setattr("tools.fuzz_headers.fuzzing.inspect_checkpoint", lambda _: time.sleep(5))
    with pytest.raises(TooSlowError):
        check(tmp_path / "any", Tally())
