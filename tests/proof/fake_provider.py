"""A package that is installed under the name of SageAttention 3, and rows of backends that use it."""

import os
import textwrap
from pathlib import Path

import pytest

from wanvideo.hardware import Hardware

CPU = Hardware(gpus=(), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
PACKAGE = "sageattn3"
KERNELS = """
    import ctypes, os, sys, time
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    def right(query, key, value):
        print("kernels like to print", flush=True)
        states = (part.transpose(1, 2) for part in (query, key, value))
        return scaled_dot_product_attention(*states).transpose(1, 2)

    sageattn3_blackwell = right

    def crashes(query, key, value):
        ctypes.string_at(0)

    def hangs(query, key, value):
        time.sleep(600)

    def gives_nan(query, key, value):
        attended = right(query, key, value).clone()
        attended[0, -1, 0, 0] = float("nan")
        return attended

    def gives_a_mean(query, key, value):
        return value.mean(1, keepdim=True).expand_as(value)

    def changes_its_key(query, key, value):
        attended = right(query, key, value).clone()
        key -= key.mean(1, keepdim=True)
        return attended

    def has_no_memory(query, key, value):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def raises(query, key, value):
        place = os.path.expanduser("~/kernel.cu")
        raise RuntimeError(f"CUDA error: misaligned address in {place}\\nmore words")

    def leaves(query, key, value):
        sys.exit(0)
"""
ROWS = """
    from wanvideo.registry import AttentionBackend

    def row(name, load):
        return AttentionBackend(
            name=name, label=name, priority=-100, fallback="sdpa",
            unavailable_reason=lambda hardware: None, load=load,
        )

    def loader(name):
        def load(place):
            import sageattn3
            return getattr(sageattn3, name)
        return load

    def needs_a_library(place):
        import sageattn3.missing_library

    NAMES = ("right", "crashes", "hangs", "gives_nan", "gives_a_mean", "changes_its_key", "has_no_memory",
             "raises", "leaves")
    BACKENDS = (*(row(name, loader(name)) for name in NAMES), row("lacks_a_library", needs_a_library))
"""
STARTUP = """
    import wanvideo.attention
    wanvideo.attention.__path__.append({rows!r})
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package on this process's path, and the package and its rows on that of those it starts."""
    _write(folder / PACKAGE / "__init__.py", KERNELS)
    _write(folder / "rows" / "fake_rows.py", ROWS)
    _write(folder / "sitecustomize.py", STARTUP.format(rows=str(folder / "rows")))
    set_version(folder, "1.0")
    monkeypatch.syspath_prepend(folder)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def set_version(folder: Path, version: str) -> None:
    text = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n"
    _write(folder / f"{PACKAGE}.dist-info" / "METADATA", text)


def kept(site: Path) -> list[str]:
    """Names of the proofs on disk."""
    return sorted(path.name for path in site.parent.rglob("*.json"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
