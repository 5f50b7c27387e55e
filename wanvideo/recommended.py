"""Which preset suits this machine, and why, in a sentence. Pure arithmetic."""

from typing import NamedTuple

from wanvideo.defaults import SOURCES
from wanvideo.hardware import BF16_CAPABILITY, Hardware

GIGA = 1024**3
SIZES = (2, 4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 180, 288)
REPORTED = 0.93  # of the memory that a card is sold with, at least: the driver and error correction take some
TIERS = {
    0: "tier_under_8gb",
    8: "tier_8gb",
    12: "tier_12gb",
    16: "tier_16gb",
    24: "tier_24gb",
    32: "tier_32gb",
}
FP4_TIERS = {32: "tier_32gb_blackwell"}  # where the tensor cores multiply FP4
WITHOUT_CARD = "pocket_cpu"
FP4_CAPABILITY, FP8_CAPABILITY = (10, 0), (8, 9)


class Recommendation(NamedTuple):
    """The name of a bundled preset, and a sentence for people."""

    name: str
    reason: str


def recommended_preset(machine: Hardware, task: str) -> Recommendation:
    """From compute capability, nominal memory and task; of several cards the first, which does the work."""
    if machine.device == "cpu":
        return Recommendation(WITHOUT_CARD, _without_card(machine))
    card = machine.gpus[0]
    size = nominal_gigabytes(card.total_bytes)
    tier = max(lowest for lowest in TIERS if lowest <= size)
    has_fp4 = card.compute_capability >= FP4_CAPABILITY
    name = FP4_TIERS.get(tier, TIERS[tier]) if has_fp4 else TIERS[tier]
    parts = [f"{card.name} has {size} GB", _about_cores(card.compute_capability)]
    if tier == 0 and SOURCES[task]:
        parts.append(
            "the models that take a picture have 14B weights, which are streamed from main memory: slow"
        )
    return Recommendation(name, "; ".join(parts) + ".")


def nominal_gigabytes(total_bytes: int) -> int:
    """The memory that a card is sold with: one of 24 GB reports 22.5 to 24 GiB. Whole GiB for odd sizes."""
    reported = total_bytes / GIGA
    return max((size for size in SIZES if reported >= REPORTED * size), default=int(reported))


def _without_card(machine: Hardware) -> str:
    if machine.gpus:
        return f"This PyTorch is the CPU build and can't use {machine.gpus[0].name}: see the README."
    return "There is no NVIDIA card here, and only the bundled model is fast on a processor."


def _about_cores(capability: tuple[int, int]) -> str:
    """What its tensor cores multiply."""
    version = ".".join(map(str, capability))
    if capability >= FP4_CAPABILITY:
        return f"its tensor cores (compute capability {version}) multiply FP8 and FP4"
    if capability >= FP8_CAPABILITY:
        return f"its tensor cores (compute capability {version}) multiply FP8"
    if capability >= BF16_CAPABILITY:
        return f"compute capability {version} multiplies in BF16, whatever the weights are stored in"
    return f"compute capability {version} is before BF16, so it computes in FP16"
