"""Is a model file whole: its header, its offsets, its size and hash, and, when asked, its numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.header import checkpoint_files, read_tensors
from wanvideo.downloads.catalog import FILES, KnownFile
from wanvideo.downloads.digest import recorded_hash, sha256_of
from wanvideo.errors import UserError

Tell = Callable[[str], None]  # a note; raises Cancelled to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found out about one file. `problems` is empty when nothing is wrong; `notes` say what was
    compared with what.
    """

    path: Path
    sha256: str
    bytes: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify(path: Path, tell: Tell, *, scans_numbers: bool = False) -> list[Verdict]:
    """A verdict for each file of the checkpoint at `path`. Raises UserError if there is none."""
    return [_verify(file, tell, scans_numbers) for file in checkpoint_files(path)]


def _verify(path: Path, tell: Tell, scans_numbers: bool) -> Verdict:
    size, problems, notes = path.stat().st_size, [], []
    has_header = path.suffix.lower() not in (".model", ".json")
    if has_header:
        try:
            notes.append(f"{len(read_tensors(path))} tensors, each within the file")
        except UserError as error:
            problems.append(str(error))
    sha256 = sha256_of(path, lambda done: tell(f"{path.name}: {done / 1e9:.1f} of {size / 1e9:.1f} GB"))
    known = next((file for file in FILES.values() if file.file_name == path.name), None)
    wrong, right = _compare(path, known, size, sha256)
    if scans_numbers and has_header and not problems:
        (problems if (bad := _bad_numbers(path, tell)) else notes).append(bad or "every number is finite")
    return Verdict(path=path, sha256=sha256, bytes=size, problems=(*problems, *wrong), notes=(*notes, *right))


def _compare(path: Path, known: KnownFile | None, size: int, sha256: str) -> tuple[list[str], list[str]]:
    """(problems, notes) of size and hash against what is on record."""
    if known and known.confirmed and size != known.bytes:
        return [f"{path.name} has {size} bytes; the published file has {known.bytes}"], []
    recorded = recorded_hash(path)
    wanted, whose = (known.sha256, "published") if known and known.sha256 else (recorded, "downloaded")
    if wanted is None:
        return [], ["no hash is on record for this file, so there was nothing to compare its bytes with"]
    if wanted != sha256:
        return [f"{path.name} has other bytes than the {whose} file"], []
    return [], [f"size and hash are those of the {whose} file"]


def _bad_numbers(path: Path, tell: Tell) -> str:
    """A sentence about the first tensor with NaN or infinite numbers, else nothing. Raises UserError for a
    format that is not read here.
    """
    if path.suffix.lower() != ".safetensors":
        raise UserError("numbers are looked at in .safetensors files only", value=path.name)
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            tell(f"{path.name}: {name}")
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
                return f"{path.name} holds NaN or infinite numbers in {name}"
    return ""
