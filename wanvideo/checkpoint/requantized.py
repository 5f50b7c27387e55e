"""FP8 files that are used under a 4-bit name: made denser once, the result kept in the cache folder.

A copy belongs to path, size and time of its source; when the source changes, the old copy is removed.
"""

import hashlib
import logging
import shutil
from pathlib import Path

import torch

from wanvideo.cache_folder import REQUANTIZED, cache_folder
from wanvideo.checkpoint.convert import Conversion, convert
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.quantized_linears import Progress, ignore_progress
from wanvideo.effective_mode import makes_denser
from wanvideo.registry import QuantizationMode, quantization_modes

log = logging.getLogger(__name__)


def denser_copy(
    facts: CheckpointFacts,
    mode: QuantizationMode,
    device: torch.device | str = "cpu",
    progress: Progress = ignore_progress,
) -> CheckpointFacts:
    """The checkpoint in the denser format of `mode`, from the cache, where it is put when it is not there.

    `facts` themselves for a file that the mode does not make denser, and when the disk has no room for it.
    """
    if not makes_denser(quantization_modes(), mode, facts.stored):
        return facts
    path = copy_path(facts, mode)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(path)
        wanted, free = facts.bytes_in(mode), shutil.disk_usage(path.parent).free
        if free < wanted:
            log.warning("%s is re-quantized again: no room for a copy in %s", facts.path.name, path.parent)
            return facts
        log.info("[LOAD] Re-quantizing %s to %s...", facts.path.name, mode.name)
        convert(Conversion(source=facts, output=path, mode=mode, device=device), progress)
    return inspect_checkpoint(path)


def copy_path(facts: CheckpointFacts, mode: QuantizationMode) -> Path:
    """Where the copy is, or will be. Modes with the same weights share it."""
    stats = [(file.resolve(), file.stat()) for file in facts.files]
    which = _digest([mode.fallback or mode.name, *(str(file) for file, _ in stats)])
    version = _digest([f"{stat.st_size} {stat.st_mtime_ns}" for _, stat in stats])
    return cache_folder(REQUANTIZED) / f"{facts.path.stem}_{which}_{version}.safetensors"


def _remove_old(path: Path) -> None:
    """Copies of the same source as it was before."""
    start = path.stem.rpartition("_")[0]
    for old in path.parent.glob("*.safetensors"):
        if old.stem.rpartition("_")[0] == start:
            old.unlink()


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
