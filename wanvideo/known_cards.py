"""NVIDIA cards by name: what a plan for another card needs, and what speed to expect of one."""

import difflib
import re
from dataclasses import dataclass, replace

from wanvideo.errors import UserError
from wanvideo.hardware import Gpu, Hardware

ASSUMED_DRIVER = "assumed"  # of a card that is not here
GIB = 1 << 30
_SIZE = re.compile(r"(\d+)\s*GI?B\b", re.IGNORECASE)  # "16GB" or "16 GB" in a name


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCard:
    """Published figures: `gib` of memory, `tflops` of dense products in bf16 (fp16 before Ampere) summed in
    fp32, `gbs` of memory bandwidth.
    """

    name: str
    capability: tuple[int, int]
    gib: int
    tflops: float
    gbs: float


def _card(name: str, capability: tuple[int, int], gib: int, tflops: float, gbs: float) -> KnownCard:
    return KnownCard(name=name, capability=capability, gib=gib, tflops=tflops, gbs=gbs)


TURING, AMPERE, GA102, ADA, HOPPER, BLACKWELL = (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)

# Of cards with one name and several sizes the commonest has the bare name, and comes first.
CARDS = (
    _card("RTX 2080 Ti", TURING, 11, 54, 616),
    _card("RTX 3060", GA102, 12, 25, 360),
    _card("RTX 3060 8GB", GA102, 8, 25, 240),
    _card("RTX 3060 Ti", GA102, 8, 32, 448),
    _card("RTX 3070", GA102, 8, 41, 448),
    _card("RTX 3080", GA102, 10, 60, 760),
    _card("RTX 3080 12GB", GA102, 12, 61, 912),
    _card("RTX 3080 Ti", GA102, 12, 68, 912),
    _card("RTX 3090", GA102, 24, 71, 936),
    _card("RTX 3090 Ti", GA102, 24, 80, 1008),
    _card("RTX 4060", ADA, 8, 30, 272),
    _card("RTX 4060 Ti", ADA, 8, 44, 288),
    _card("RTX 4060 Ti 16GB", ADA, 16, 44, 288),
    _card("RTX 4070", ADA, 12, 58, 504),
    _card("RTX 4070 Super", ADA, 12, 71, 504),
    _card("RTX 4070 Ti", ADA, 12, 80, 504),
    _card("RTX 4070 Ti Super", ADA, 16, 88, 672),
    _card("RTX 4080", ADA, 16, 97, 717),
    _card("RTX 4080 Super", ADA, 16, 104, 736),
    _card("RTX 4090", ADA, 24, 165, 1008),
    _card("RTX 5060", BLACKWELL, 8, 38, 448),
    _card("RTX 5060 Ti", BLACKWELL, 16, 47, 448),
    _card("RTX 5060 Ti 8GB", BLACKWELL, 8, 47, 448),
    _card("RTX 5070", BLACKWELL, 12, 62, 672),
    _card("RTX 5070 Ti", BLACKWELL, 16, 88, 896),
    _card("RTX 5080", BLACKWELL, 16, 113, 960),
    _card("RTX 5090", BLACKWELL, 32, 210, 1792),
    _card("RTX A6000", GA102, 48, 155, 768),
    _card("RTX 6000 Ada", ADA, 48, 364, 960),
    _card("RTX PRO 6000", BLACKWELL, 96, 504, 1792),
    _card("T4", TURING, 16, 65, 320),
    _card("V100", (7, 0), 16, 125, 900),
    _card("A10", GA102, 24, 125, 600),
    _card("A100 80GB", AMPERE, 80, 312, 2039),
    _card("A100 40GB", AMPERE, 40, 312, 1555),
    _card("L4", ADA, 24, 121, 300),
    _card("L40S", ADA, 48, 362, 864),
    _card("H100", HOPPER, 80, 989, 3350),
    _card("H200", HOPPER, 141, 989, 4800),
    _card("B200", (10, 0), 180, 2250, 8000),
)


def find_card(name: str) -> KnownCard:
    """The card of that name, as "RTX 4090", "4090" or "NVIDIA GeForce RTX 3060 8 GB". Raises UserError with
    the nearest names for one that is not known.
    """
    model, sizes = _model(name), _sizes(name)
    for card in CARDS:
        if model | {"rtx"} == _model(card.name) | {"rtx"} and (not sizes or card.gib in sizes):
            return card
    names = [card.name for card in CARDS]
    near = difflib.get_close_matches(name.upper(), [name.upper() for name in names], n=3, cutoff=0.3)
    nearest = [name for name in names if name.upper() in near] or names
    raise UserError("unknown card", value=name, allowed=nearest, fix="Give a card's name, as RTX 4090.")


def card_of(name: str, total_bytes: int = 0) -> KnownCard | None:
    """The known card that a driver calls `name`: the longest name whose words are all in it; of those with
    one name the one nearest to `total_bytes`.
    """
    words = _model(name)
    fitting = [card for card in CARDS if _model(card.name) <= words]
    longest = max((len(_model(card.name)) for card in fitting), default=0)
    fitting = [card for card in fitting if len(_model(card.name)) == longest]
    return min(
        fitting, key=lambda card: abs(card.gib * GIB - total_bytes) if total_bytes else 0, default=None
    )


def assumed(machine: Hardware, name: str) -> Hardware:
    """The machine with that card in the place of its own, empty and not tried. Raises UserError for an
    unknown name.
    """
    card = find_card(name)
    gpu = Gpu(
        name=card.name,
        compute_capability=card.capability,
        total_bytes=card.gib * GIB,
        free_bytes=card.gib * GIB,
        driver=ASSUMED_DRIVER,
    )
    return replace(machine, gpus=(gpu,), torch_has_cuda=True)


def is_assumed(machine: Hardware) -> bool:
    """Whether its card comes from `assumed`."""
    return bool(machine.gpus) and machine.gpus[0].driver == ASSUMED_DRIVER


def _model(name: str) -> frozenset[str]:
    """The parts of a name that tell models apart: without the maker and the memory."""
    parts = re.findall(r"[a-z0-9]+", _SIZE.sub("", name).lower())
    return frozenset(parts) - {"nvidia", "geforce", "gpu", "tesla"}


def _sizes(name: str) -> list[int]:
    return [int(number) for number in _SIZE.findall(name)]
