"""What the machine is. `probe_hardware` is the only place that asks; everything else is handed the answer."""

import importlib.util
import logging
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

BF16_CAPABILITY = (8, 0)  # cards before Ampere multiply bf16 very slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA card, as NVML reports it (no CUDA context is opened). `held_bytes`: what this program and
    those it started have of it, as far as NVML tells; a job may have that as well.
    """

    name: str
    compute_capability: tuple[int, int]
    total_bytes: int
    free_bytes: int
    driver: str
    held_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: the cards that torch may use, in its order; cores; memory."""

    gpus: tuple[Gpu, ...]
    cpu: str
    cores: int
    ram_bytes: int
    free_ram_bytes: int
    system: str
    torch_has_cuda: bool = True

    @property
    def device(self) -> str:
        """The torch device that work runs on."""
        return "cuda" if self.gpus and self.torch_has_cuda else "cpu"

    @property
    def dtype(self) -> str:
        """The dtype that suits the device: "bf16", "fp16" or "fp32"."""
        if self.device == "cpu":
            return "fp32"
        return "bf16" if self.gpus[0].compute_capability >= BF16_CAPABILITY else "fp16"


def probe_hardware() -> Hardware:
    """Ask NVML and the operating system. A machine without an NVIDIA driver simply has no cards.

    CUDA's own order is by speed; it is told NVML's order, so that the first card here is torch's cuda:0. CUDA
    reads that when it starts, which is later, in this process and in those it starts. So does PyTorch's
    allocator, whose segments then grow in place: blocks of many sizes leave no holes that nothing fits into.
    """
    import psutil

    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if sys.platform == "linux":  # elsewhere PyTorch does not have it
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    memory = psutil.virtual_memory()
    return Hardware(
        gpus=_probe_gpus(),
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_bytes=memory.total,
        free_ram_bytes=memory.available,
        system=f"{platform.system()} {platform.release()}",
        torch_has_cuda=bool(torch_cuda()),
    )


def torch_cuda() -> str:
    """The CUDA version that the installed torch was built for, else empty; read from its version file, as
    importing it is slow.
    """
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return ""
    written = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    version = re.search(r"^cuda\b.*=\s*['\"]([^'\"]*)", written, re.MULTILINE)
    return version.group(1) if version else ""


def _probe_gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        described = [_describe(card) for card in _visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))]
        return tuple(gpu for gpu in described if gpu is not None)
    finally:
        pynvml.nvmlShutdown()


def _visible(cards: Sequence[Any], wanted: str | None) -> list[Any]:
    """The cards CUDA_VISIBLE_DEVICES names, in its order; as in CUDA, the first bad entry ends the list."""
    if wanted is None:
        return list(cards)
    visible = []
    for entry in wanted.split(","):
        card = _named_card(cards, entry.strip())
        if card is None:
            break
        visible.append(card)
    return visible


def _named_card(cards: Sequence[Any], entry: str) -> Any:
    """The card with that number, with that UUID or an unmistakable beginning of it; None for any other."""
    import pynvml

    if entry.isdecimal():
        return cards[int(entry)] if int(entry) < len(cards) else None
    try:
        if entry.startswith("MIG-"):
            return pynvml.nvmlDeviceGetHandleByUUID(entry)
        found = [card for card in cards if pynvml.nvmlDeviceGetUUID(card).startswith(entry)]
    except pynvml.NVMLError:
        return None
    return found[0] if entry.startswith("GPU-") and len(found) == 1 else None


def _describe(card: Any) -> Gpu | None:
    """The card's facts; None, with a word in the log, for one that does not tell what it can do."""
    import pynvml

    try:
        total, free = _memory(card)
        return Gpu(
            name=pynvml.nvmlDeviceGetName(card),
            compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(card)),
            total_bytes=total,
            free_bytes=free,
            driver=pynvml.nvmlSystemGetDriverVersion(),
            held_bytes=_held_bytes(card),
        )
    except pynvml.NVMLError as error:
        log.warning("a card is left out, NVML says: %s", error)
        return None


def _held_bytes(card: Any) -> int:
    """Windows does not tell, and a container has other numbers for its processes."""
    import psutil
    import pynvml

    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    try:
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
    except pynvml.NVMLError:
        return 0
    return sum(process.usedGpuMemory or 0 for process in running if process.pid in ours)


def _memory(card: Any) -> tuple[int, int]:
    """(total, free) bytes; a board whose memory is the computer's own has no answer to that in NVML."""
    import psutil
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    except pynvml.NVMLError:
        shared = psutil.virtual_memory()
        return shared.total, shared.available
    return int(memory.total), int(memory.free)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
