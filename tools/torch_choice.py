"""Which build of torch, and of SageAttention, fits this machine, decided before a gigabyte is downloaded.

Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
OLDER_CUDA_INDEX = "https://download.pytorch.org/whl/cu126"
# CUDA major version -> oldest driver and oldest compute capability (NVIDIA's CUDA Toolkit release notes)
CUDA_NEEDS = {"12": (525, 5.0), "13": (580, 7.5)}
CPU_GIGABYTES, CUDA_GIGABYTES = 4, 8
# The release on the package index, pure Python; newer ones are built for one torch and one card. It needs
# Triton: torch brings it on Linux, on Windows 3.7 is the one that fits the pinned torch.
SAGE, TRITON_ON_WINDOWS = "sageattention==1.0.6", "triton-windows<3.8"
SAGE_CAPABILITY = 8.0


@dataclass(frozen=True)
class Machine:
    """`driver` is the major version of the NVIDIA driver, None without a card; `capability` like 8.9."""

    windows: bool
    driver: int | None = None
    capability: float = 0.0


@dataclass(frozen=True)
class TorchChoice:
    """`index` is where torch comes from, None for pip's own index; `problem` says why a card can't use it."""

    index: str | None
    gigabytes: int
    problem: str = ""


def probe_machine() -> Machine:
    windows = os.name == "nt"
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return Machine(windows)
    return Machine(windows) if done.returncode else parse_cards(done.stdout, windows)


def parse_cards(listing: str, windows: bool) -> Machine:
    """Lines like `580.65.06, 8.9`, one for each card; the best card counts."""
    found = re.findall(r"^\s*(\d+)[.\d]*\s*,\s*([\d.]+)", listing, re.MULTILINE)
    if not found:
        return Machine(windows)
    return Machine(windows, int(found[0][0]), max(float(capability) for _, capability in found))


def choose_torch(machine: Machine, wish: str | None) -> TorchChoice:
    """`wish` is TORCH_INDEX_URL: None when unset, empty for pip's own index."""
    if wish is not None:
        index = wish.strip() or None
    elif machine.driver:
        index = CUDA_INDEX  # Windows would get the CPU build from pip's own index
    else:
        index = None if machine.windows else CPU_INDEX  # and Linux gigabytes of CUDA
    cuda = re.search(r"/cu(\d\d)\d+/?$", index or "")
    if cuda is None:
        return TorchChoice(index, CPU_GIGABYTES)
    return TorchChoice(index, CUDA_GIGABYTES, _card_problem(machine, cuda.group(1)))


def _card_problem(machine: Machine, cuda: str) -> str:
    driver, capability = CUDA_NEEDS.get(cuda, (0, 0.0))
    older = f"set TORCH_INDEX_URL={OLDER_CUDA_INDEX}"
    if machine.driver is None:
        return "no NVIDIA driver answers (nvidia-smi), so no card could be used"
    if machine.capability < capability:
        return f"this card (compute capability {machine.capability}) is too old for CUDA {cuda}: {older}"
    if machine.driver < driver:
        return (
            f"NVIDIA driver {machine.driver} is too old for CUDA {cuda}, which needs {driver} or newer. "
            f"Update the driver; or, for a card before the RTX 50 series, {older}; "
            f"or, to go without the card, set TORCH_INDEX_URL={CPU_INDEX}"
        )
    return ""


def is_installed(version: str, pin: str, index: str | None) -> bool:
    """Whether the installed torch is the pinned one, of the build (`+cpu`, `+cu130`) the index stands for."""
    build = re.search(r"/whl/(\w+)/?$", index or "")
    return version == f"{pin}+{build.group(1)}" if build else version.split("+")[0] == pin


def sage_packages(machine: Machine, present: list[str]) -> list[str]:
    """What SageAttention still needs. `present`: the packages that are there, and "cuda" if torch has it. Any
    version of sageattention that is there stays, also one that does not work.
    """
    useful = machine.driver is not None and machine.capability >= SAGE_CAPABILITY and "cuda" in present
    if not useful or "sageattention" in present:
        return []
    return [SAGE, TRITON_ON_WINDOWS] if machine.windows and "triton" not in present else [SAGE]


def explain_pip(log: str, python: str) -> str:
    """The sentence a person needs, from what pip wrote to stderr under Python `python` (like 3.12)."""
    if re.search(r"No space left|Errno 28|not enough space", log):
        return "The disk is full."
    if re.search(
        r"ConnectionError|onnection broken|Timeout|[Nn]ame ?[Rr]esolution|getaddrinfo|ProxyError", log
    ):
        return "The package index could not be reached: check the network or the proxy."
    if "No matching distribution" in log:
        return f"No ready-made package fits Python {python} here; Python 3.11 to 3.13 are well served."
    return "pip stopped; its message stands above."
