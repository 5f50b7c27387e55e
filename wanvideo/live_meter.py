"""What the machine is doing now: memory of the cards, main memory, copies to the cards, processor load.

One reader for everyone who watches. It never makes anyone wait: a look returns what was read last, and has it
read again in the background when that is a second old.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wanvideo.hardware import probe_hardware

EVERY_SECONDS = 1.0
LOAD_SECONDS = 0.2  # for which the processor is watched
STALE_SECONDS = 4.0  # what was read before that is not shown: nobody has looked in between
NVML_KILOBYTE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReading:
    """`used_bytes` counts every program's; `copied` is bytes a second from main memory to the card, None
    where the card does not tell.
    """

    name: str
    used_bytes: int
    total_bytes: int
    copied: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`processor` is the load of all cores, 0 to 1; asked only where there is no card."""

    cards: tuple[CardReading, ...]
    ram_used: int
    ram_total: int
    processor: float | None = None


class LiveMeter:
    """Remembers the last reading, of whichever thread asked for it."""

    def __init__(self, read: Callable[[], Reading] | None = None) -> None:
        self._read = read or read_machine
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._taken, self._asked = -STALE_SECONDS, -EVERY_SECONDS  # in monotonic seconds

    def look(self) -> Reading | None:
        """The last reading, at once; None when there is none that is still true."""
        now = time.monotonic()
        with self._lock:
            is_due = now - self._asked >= EVERY_SECONDS
            if is_due:
                self._asked = float("inf")  # until that one is there
            last = self._last if now - self._taken < STALE_SECONDS else None
        if is_due:
            threading.Thread(target=self._take, name="meter", daemon=True).start()
        return last

    def _take(self) -> None:
        reading = None
        try:
            reading = self._read()
        finally:  # what failed is tried again
            with self._lock:
                self._last = reading
                self._taken = self._asked = time.monotonic()


def read_machine() -> Reading:
    """Ask NVML and the operating system. Takes some tenths of a second."""
    import psutil

    copied = _copy_rates()
    machine = probe_hardware()
    if len(copied) != len(machine.gpus):
        copied = [None] * len(machine.gpus)
    cards = tuple(
        CardReading(
            name=gpu.name,
            used_bytes=gpu.total_bytes - gpu.free_bytes,
            total_bytes=gpu.total_bytes,
            copied=rate,
        )
        for gpu, rate in zip(machine.gpus, copied, strict=True)
    )
    return Reading(
        cards=cards,
        ram_used=machine.ram_bytes - machine.free_ram_bytes,
        ram_total=machine.ram_bytes,
        processor=None if cards else psutil.cpu_percent(LOAD_SECONDS) / 100,
    )


def _copy_rates() -> Sequence[float | None]:
    """Bytes a second to each card, in NVML's order. Where some cards are hidden from torch, or in another
    order, it is not known whose is whose.
    """
    import pynvml

    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_copy_rate(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _copy_rate(index: int) -> float | None:
    """What the card received over PCI Express, as NVML measures it for 20 ms."""
    import pynvml

    try:
        card = pynvml.nvmlDeviceGetHandleByIndex(index)
        received = pynvml.nvmlDeviceGetPcieThroughput(card, pynvml.NVML_PCIE_UTIL_RX_BYTES)
    except pynvml.NVMLError:
        return None
    return float(received) * NVML_KILOBYTE
