"""Where a foreign kernel comes from: whether its package is here, read without importing it, and its import.

Availability is only guessed here (package and card); whether a kernel really works is shown by running it.
"""

import importlib
import importlib.util
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.hardware import Hardware

log = logging.getLogger(__name__)

Capability = tuple[int, int]
LATER: Capability = (99, 0)  # than any card there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`function` of `module`, with kernels for cards of compute capability `since` up to, without, `until`.

    `mark` is a name that only this generation of the package has, when the function alone does not tell.
    `flag` names a value or a function of the module that must be true once it is imported. `distribution` is
    what to install where that has another name than the module.
    """

    module: str
    function: str
    since: Capability
    until: Capability = LATER
    mark: str = ""
    flag: str = ""
    distribution: str = ""

    @property
    def package(self) -> str:
        """The package that is imported."""
        return self.module.partition(".")[0]

    @property
    def title(self) -> str:
        """module.function"""
        return f"{self.module}.{self.function}"

    def is_here(self) -> bool:
        """Whether the module is installed and speaks of the function and the mark; nothing is imported."""
        return offers(self.module, self.function) and (not self.mark or offers(self.module, self.mark))

    def suits(self, capability: Capability) -> bool:
        """Whether it has kernels for a card of that compute capability."""
        return self.since <= capability < self.until


def unavailable_reason(hardware: Hardware, providers: Sequence[Provider]) -> str | None:
    """Why none of `providers` can run on the first card; None when one is installed and suits it."""
    needed = _range_text(min(item.since for item in providers), max(item.until for item in providers))
    if hardware.device != "cuda":
        return f"needs an NVIDIA card of {needed}"
    capability = hardware.gpus[0].compute_capability
    suiting = [provider for provider in providers if provider.suits(capability)]
    if not suiting:
        return f"needs {needed}, this card has {_text(capability)}"
    if any(provider.is_here() for provider in suiting):
        return None
    missing = [item for item in suiting if not is_installed(item.package)]
    absent = dict.fromkeys(item.distribution or item.package for item in missing)
    lacking = [
        f"{item.package} is installed without {item.distribution or item.mark or item.function}"
        for item in suiting
        if item not in missing
    ]
    return "; ".join([*([f"package not installed: {', '.join(absent)}"] if absent else []), *lacking])


def load_first(what: str, providers: Sequence[Provider]) -> tuple[Provider, Callable[..., Any]]:
    """Import the first provider that is here, suits the card and can be imported.

    Raises UserError that gives each one's reason.
    """
    reasons = []
    capability = card_capability()
    for provider in providers:
        if not provider.is_here():
            reasons.append(f"{provider.module} is not installed with {provider.mark or provider.function}")
        elif capability is not None and not provider.suits(capability):
            reasons.append(f"{provider.module} needs {_range_text(provider.since, provider.until)}")
        else:
            loaded = _import(provider)
            if not isinstance(loaded, str):
                log.info("%s (%s) loaded successfully", what, provider.module)
                return provider, loaded
            reasons.append(f"{provider.module}: {loaded}")
    log.warning("%s not available: %s", what, "; ".join(reasons))
    raise UserError(f"{what} can't be loaded: {'; '.join(reasons)}", fix="Choose another attention.")


def card_capability() -> Capability | None:
    """Compute capability of the card that torch works on; None without one."""
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


@cache
def is_installed(package: str) -> bool:
    """Whether a top-level package can be found; it is not imported."""
    return importlib.util.find_spec(package) is not None


@cache
def offers(module: str, name: str) -> bool:
    """Whether the source of an installed module contains the name, or hides it (compiled, star import)."""
    source = _source(module)
    if source is None:
        return False
    if source.suffix != ".py":
        return True
    text = source.read_text(encoding="utf-8", errors="replace")
    return re.search(rf"\b{name}\b", text) is not None or "import *" in text


def _source(module: str) -> Path | None:
    """The file of a module. Only the top-level package is looked up: asking for an inner one imports it."""
    package, _, inner = module.partition(".")
    found = importlib.util.find_spec(package)
    if found is None:
        return None
    if not inner:
        return Path(found.origin) if found.origin else None
    # A package that several distributions share has folders, and no file of its own.
    files = [Path(folder).joinpath(*inner.split(".")) for folder in found.submodule_search_locations or ()]
    paths = [path for file in files for path in (file.with_suffix(".py"), file / "__init__.py")]
    return next((path for path in paths if path.exists()), None)


def _import(provider: Provider) -> Callable[..., Any] | str:
    """The function, or why it can't be had: a package built for another torch fails in many ways."""
    try:
        module = importlib.import_module(provider.module)
        function: Callable[..., Any] = getattr(module, provider.function)
        ready = getattr(module, provider.flag) if provider.flag else True
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        return str(error)
    ready = ready() if callable(ready) else ready
    return function if ready else f"{provider.flag} is {ready}"


def _range_text(since: Capability, until: Capability) -> str:
    """`until` itself is left out; it starts a new major number."""
    return f"compute capability {_text(since)} " + ("or higher" if until == LATER else f"to {until[0] - 1}.x")


def _text(capability: Capability) -> str:
    return ".".join(map(str, capability))
