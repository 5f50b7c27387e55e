"""A golden file in memory, and the rows of the report."""

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint

PROJECT = Path(__file__).resolve().parents[2]
ELSEWHERE = (PROJECT / "tests/data/goldens", PROJECT.parent / "shared/goldens")


class Missing(Exception):
    """A golden file names another one that is nowhere to be found."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report: a tensor's largest error and what is allowed, or why it was not compared."""

    tensor: str
    error: float = 0.0
    limit: float = 0.0
    skipped: str = ""

    @property
    def good(self) -> bool:
        return bool(self.skipped) or self.error <= self.limit


@dataclass(frozen=True)
class Golden:
    """A file of the folder under test; what it needs besides may also lie with the project's own goldens."""

    path: Path

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict

    @cached_property
    def info(self) -> dict[str, Any]:
        with safe_open(self.path, "pt") as file:
            info: dict[str, Any] = json.loads((file.metadata() or {}).get("info", "{}"))
        return info

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def sibling(self, stem: str) -> "Golden":
        """Another file by its name without suffix. Raises Missing."""
        for folder in (self.path.parent, *ELSEWHERE):
            if (path := folder / f"{stem}.safetensors").is_file():
                return Golden(path)
        raise Missing(f"{self.path.stem} needs {stem}.safetensors")

    def facts(self) -> CheckpointFacts:
        """What the engine sees in this file when it is one with weights."""
        return inspect_checkpoint(self.path)

    @contextmanager
    def stored_weights(self, prefix: str) -> Iterator[CheckpointFacts]:
        """The weights kept beside inputs and outputs under `prefix`, as a checkpoint file of their own."""
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "weights.safetensors"
            save_file(weights, path)
            yield inspect_checkpoint(path)


def compare(name: str, ours: Tensor, theirs: Tensor, limit: float, *, relative: bool = False) -> Row:
    """Largest absolute difference, or that over the largest reference value; another shape is no match."""
    if ours.shape != theirs.shape:
        shapes = f"{list(ours.shape)} instead of {list(theirs.shape)}"
        return Row(tensor=f"{name} {shapes}", error=math.inf, limit=limit)
    error = float((ours.double() - theirs.double()).abs().max())
    if relative:
        error /= float(theirs.double().abs().max())
    return Row(tensor=name, error=error, limit=limit)
