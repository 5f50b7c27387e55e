"""Weights on the move: blocks streamed in from main memory, and a file that becomes a model on the card."""

from functools import partial

from benchmarks import load
from benchmarks.measuring import device, phase, reset_peak
from benchmarks.random_files import DENSE, write_files
from benchmarks.random_sizes import PUBLISHED_FILES
from benchmarks.swap import COMPILED, SWAPPED, Swaps, Variant
from benchmarks.target_row import Bench, Found, Goal, Target, ratio_at_least, ratio_at_most
from wanvideo.checkpoint.load import load_transformer
from wanvideo.registry import quantization_modes

SWAPPED_MODES = {"bf16": DENSE, "fp8": "fp8_e4m3fn_scaled_fast"}
LOADED_MODE = "fp8_e4m3fn_scaled"
MOST_HOST_GIB = 4e9 / 2**30  # of the process's own, beside the file


def _swap(bench: Bench, mode: str) -> Found:
    """All blocks swapped against none, both compiled."""
    bench.forget()
    swaps = Swaps(Variant(mode=mode, how=COMPILED), quick=bench.quick)
    try:
        resident, swapped = swaps.measure(0), swaps.measure(SWAPPED[-1])
    finally:
        swaps.close()
        del swaps
        reset_peak()
    peaks = [row["peak_gib"] for row in (swapped, resident) if row["peak_gib"] is not None]
    return Found(
        value=swapped["ms"],
        unit="ms",
        peer=resident["ms"],
        ratio=swapped["ms"] / resident["ms"],
        holds=swapped["identical"],
        quality="bit-identical" if swapped["identical"] else "NOT identical",
        how=f"{mode}, compiled" + (f"; peak {peaks[0]:.1f} GiB, resident {peaks[1]:.1f}" if peaks else ""),
    )


def _load(bench: Bench) -> Found:
    """bf16 file -> fp8 on the card, as a share of the slowest way that every byte has to go: out of the
    system's memory by all readers, or over the bus.
    """
    bench.forget()
    with phase("writing the file, reading it once"):
        path = write_files([load.MODEL], bench.files, DENSE, quick=bench.quick)[load.MODEL]
        load._read_whole(path)
    rates = load._rates(path, load.TINY_BUFFER_BYTES if bench.quick else load.BUFFER_BYTES)
    loader = partial(load_transformer, mode=quantization_modes()[LOADED_MODE], device=device())
    row = load._measure(loader, lambda: path, rates)
    if not bench.quick:
        PUBLISHED_FILES[load.MODEL].path(bench.files, DENSE).unlink(missing_ok=True)
    most = min(rates["read_by_all"], rates["pinned"])
    return Found(
        value=row["gb_per_second"],
        unit="GB/s",
        peer=most,
        ratio=row["gb_per_second"] / most,
        holds=row["host_own_gib"] <= MOST_HOST_GIB,
        how=f"{row['file_gb']:.2f} GB in {row['seconds']:.2f} s, {row['host_own_gib']:.2f} GiB of own memory",
    )


TARGETS = (
    *(
        Target(
            name=f"swap {bits}",
            measure=partial(_swap, mode=mode),
            goal=Goal(text="<= 1.02 x the time, bit-identical", is_met=ratio_at_most(1.02)),
            peer="the same model, resident",
        )
        for bits, mode in SWAPPED_MODES.items()
    ),
    Target(
        name="load 14B bf16 file to fp8",
        measure=_load,
        goal=Goal(text=">= 0.7 of the rate, own memory <= 4 GB", is_met=ratio_at_least(0.7)),
        peer="the slower of page cache -> page-locked by all readers, and page-locked -> card",
    ),
)
