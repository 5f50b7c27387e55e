"""What the machine is. `probe_hardware` is the only place that asks; everything else is handed the answer."""

import importlib.util
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA card, as NVML reports it (no CUDA context is opened)."""

    name: str
    compute_capability: tuple[int, int]
    total_bytes: int
    free_bytes: int
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: cards in driver order, cores, memory."""

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


def probe_hardware() -> Hardware:
    """Ask NVML and the operating system. A machine without an NVIDIA driver simply has no cards."""
    import psutil

    memory = psutil.virtual_memory()
    return Hardware(
        gpus=_probe_gpus(),
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_bytes=memory.total,
        free_ram_bytes=memory.available,
        system=f"{platform.system()} {platform.release()}",
        torch_has_cuda=_torch_has_cuda(),
    )


def _torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA; read from its version file, as importing it is slow."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    written = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b.*=\s*['\"]", written, re.MULTILINE) is not None


def _probe_gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(
            _describe(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())
        )
    finally:
        pynvml.nvmlShutdown()


def _describe(handle: object) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        driver=pynvml.nvmlSystemGetDriverVersion(),
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
