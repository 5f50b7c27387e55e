"""Files of the published sizes that the system still holds in memory -> ready models on the card."""

import mmap
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.load_parts import PARTS, only_part
from benchmarks.measuring import HostPeak, device, milliseconds, peak_gib, phase, reset_peak, wait
from benchmarks.random_files import DENSE, write_files
from benchmarks.random_sizes import PUBLISHED_FILES
from benchmarks.report import Report, Row
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.load import load_text_encoder, load_transformer
from wanvideo.hardware import Hardware
from wanvideo.registry import quantization_modes

REPEATS = 3
BUFFER_BYTES, TINY_BUFFER_BYTES = 2 << 30, 1 << 20
PIECE_BYTES = 32 << 20
MODEL, ENCODER = "t2v_14b", "text_encoder"
SCALED = "fp8_e4m3fn_scaled"
MODES = (DENSE, SCALED, "fp4_scaled")
COPIES = "copies"
READ_BY = (8, 16)  # threads; which of them read fastest depends on the machine


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:  # noqa: ARG001 - a part
    """A row for the rates, one for each mode of the transformer, one for the text encoder; on a card one for
    each part of a load alone.
    """
    size = TINY_BUFFER_BYTES if quick else BUFFER_BYTES

    def file(what: str) -> Path:
        with phase("writing the file, reading it once"):
            path = write_files([what], report.files, DENSE, quick=quick)[what]
            _read_whole(path)
        return path

    rates = report.add({"what": COPIES, "mode": ""}, lambda: _rates(file(MODEL), size))
    for what, mode, load in _loads():
        chosen = not only or mode in only or what in only
        if chosen and not report.has({"what": what, "mode": mode}):
            report.add({"what": what, "mode": mode}, partial(_measure, load, partial(file, what), rates))
    if not quick:
        PUBLISHED_FILES[MODEL].path(report.files, DENSE).unlink(missing_ok=True)  # others need the disk


def _loads() -> Iterator[tuple[str, str, Callable[[CheckpointFacts], nn.Module]]]:
    for mode in MODES:
        yield MODEL, mode, partial(load_transformer, mode=quantization_modes()[mode], device=device())
    yield ENCODER, DENSE, partial(load_text_encoder, device=device())
    for part in PARTS if device() == "cuda" else ():
        whole = partial(load_transformer, mode=quantization_modes()[SCALED], device=device())
        yield MODEL, f"{SCALED}, {part}", only_part(part, whole)


def _measure(load: Callable[[CheckpointFacts], nn.Module], file: Callable[[], Path], rates: Row) -> Row:
    """The first load of the mode warms up: kernels are made, page-locked memory is found."""
    path = file()
    facts, size = inspect_checkpoint(path), path.stat().st_size
    times, host_own, host_whole = [], 0.0, 0.0
    for _ in range(REPEATS + 1):
        reset_peak()
        with HostPeak() as host:
            begun = time.perf_counter()
            model = load(facts)
            wait()
            times.append(time.perf_counter() - begun)
        model_bytes = sum(part.numel() * part.element_size() for part in model.parameters())
        del model
        host_own, host_whole = max(host_own, host.added_gib), max(host_whole, host.whole_gib)
    seconds = statistics.median(times[1:])
    speed = size / seconds / 1e9
    return {
        "file_gb": size / 1e9,
        "model_gb": model_bytes / 1e9,
        "first_seconds": times[0],
        "seconds": seconds,
        "gb_per_second": speed,
        "of_pinned": speed / rates["pinned"] if "pinned" in rates else None,
        "of_pageable": speed / rates["pageable"] if "pageable" in rates else None,
        "host_own_gib": host_own,
        "host_whole_gib": host_whole,
        "peak_gib": peak_gib(),
    }


def _rates(path: Path, size: int) -> Row:
    """What this machine can do, GB/s: a buffer to the card from page-locked and from plain memory, and a file
    from the system's memory into page-locked memory, by one thread and by as many as read fastest.
    """
    size = min(size, path.stat().st_size // mmap.PAGESIZE * mmap.PAGESIZE)
    target = torch.empty(size, dtype=torch.uint8, device=device())
    pinned = torch.zeros(size, dtype=torch.uint8, pin_memory=device() == "cuda")
    plain = torch.ones(size, dtype=torch.uint8)
    return {
        "pinned": _rate(size, lambda: target.copy_(pinned, non_blocking=True)),
        "pageable": _rate(size, lambda: target.copy_(plain)),
        "read_by_one": _rate(size, lambda: _read(path, pinned, 1)),
        "read_by_all": max(_rate(size, partial(_read, path, pinned, threads)) for threads in READ_BY),
    }


def _rate(size: int, call: Callable[[], object]) -> float:
    """GB/s."""
    return size / milliseconds(call, repeats=REPEATS) / 1e6


def _read(path: Path, buffer: Tensor, threads: int) -> None:
    """The first bytes of a file into a buffer (bytes,)."""
    view = buffer.numpy().data

    def read(at: int) -> None:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            file.readinto(view[at : at + PIECE_BYTES])

    with ThreadPoolExecutor(threads) as readers:
        list(readers.map(read, range(0, len(view), PIECE_BYTES)))


def _read_whole(path: Path) -> None:
    """So that the system has it in memory, if there is room."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(PIECE_BYTES)
        while file.readinto(buffer):
            pass
