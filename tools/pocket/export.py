"""From a training folder to the release: checked, copied, nothing changed."""

import logging
import shutil
from pathlib import Path

from safetensors import safe_open

from tools.pocket.components import FILES

LIMIT_BYTES = 48_000_000
TOKENIZER = "spiece.model"
log = logging.getLogger("pocket")


def export(source: Path, target: Path) -> None:
    """Copy weights and tokenizer from `source` to `target`.

    Raises ValueError when a file is missing, is not fp16 throughout, or all together are too large.
    """
    names = [f"{name}.safetensors" for name in FILES] + [TOKENIZER]
    missing = [name for name in names if not (source / name).exists()]
    if missing:
        raise ValueError(f"{source} lacks {missing}; train every stage first")
    for name in names[:-1]:
        _check_half(source / name)
    total = sum((source / name).stat().st_size for name in names)
    if total > LIMIT_BYTES:
        raise ValueError(f"the release may take {LIMIT_BYTES} bytes, these files take {total}")
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)
    log.info("exported %.1f MB to %s", total / 1e6, target)


def _check_half(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        wrong = [name for name in file.keys() if file.get_slice(name).get_dtype() != "F16"]  # noqa: SIM118
    if wrong:
        raise ValueError(f"{path.name}: {wrong[0]} is not fp16")
