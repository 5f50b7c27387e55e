"""Everything that can change how a kernel behaves, without importing any of it."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import platform
from datetime import datetime
from pathlib import Path

from wanvideo.hardware import Hardware, torch_cuda

# Modules that kernels come in
PACKAGES = (
    "sageattention",
    "sageattn3",
    "sage3",
    "sageattn",
    "flash_attn",
    "flash_attn_interface",
    "xformers",
    "comfy_kitchen",
    "spas_sage_attn",
    "triton",
)
DISTRIBUTIONS = {  # with another name
    "triton": "triton-windows",
    "flash_attn": "flash_attn_4",
    "flash_attn_interface": "flash_attn_3",
}
CUBLAS = ("nvidia-cublas", "nvidia-cublas-cu12")  # distributions; comfy-kitchen opens its library by name
ABSENT = "not installed"


def versions_of(machine: Hardware) -> dict[str, str]:
    """What a proof holds for: Python, torch, CUDA, driver, card, kernels, and the code here."""
    gpu = machine.gpus[0] if machine.device != "cpu" else None
    return {
        "python": platform.python_version(),
        "torch": _version("torch") or ABSENT,
        "CUDA of torch": torch_cuda() or "none",
        "driver": gpu.driver if gpu else "none",
        "GPU": gpu.name if gpu else "none",
        "compute capability": ".".join(map(str, gpu.compute_capability)) if gpu else "none",
        **{package: package_version(package) for package in PACKAGES},
        "cuBLAS": next(filter(None, map(_version, CUBLAS)), ABSENT),
        "kernels here": _source_version("wanvideo.attention", "wanvideo.quantization", "wanvideo.proof"),
    }


def versions_of_blocks(machine: Hardware) -> dict[str, str]:
    """What a proof of compiled blocks holds for: the code of the blocks too."""
    return {**versions_of(machine), "blocks here": _source_version("wanvideo.kernels", "wanvideo.models")}


def package_version(package: str) -> str:
    """Its version and when it was installed: a build from source changes without a new number."""
    found = importlib.util.find_spec(package)
    if found is None:
        return ABSENT
    places = [found.origin] if found.origin else list(found.submodule_search_locations or ())
    stamps = [Path(place).stat().st_mtime for place in places if Path(place).exists()]
    installed = f", installed {datetime.fromtimestamp(max(stamps)):%Y-%m-%d %H:%M:%S}" if stamps else ""
    version = _version(package) or _version(DISTRIBUTIONS.get(package, package))
    return (version or "version unknown") + installed


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _source_version(*packages: str) -> str:
    """A hash over the source of these packages."""
    digest = hashlib.sha256()
    for package in packages:
        for folder in importlib.import_module(package).__path__:
            for file in sorted(Path(folder).glob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
