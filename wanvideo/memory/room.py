"""How much of the card, and of main memory, a job may take."""

from dataclasses import dataclass, replace

from wanvideo.fallback import AUTO
from wanvideo.hardware import Hardware
from wanvideo.memory import constants
from wanvideo.options import RuntimeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """`budget`: bytes that may be taken where the models work, the card or (without one) main memory.
    `weights`: the part of them that resident weights and slots may have. `pinned`: bytes that may be
    page-locked. `total`: of the card, or of main memory. `free_ram`: of main memory.
    """

    budget: int
    weights: int
    total: int
    pinned: int = 0
    free_ram: int = 0
    on_card: bool = True


def room_on(machine: Hardware, options: RuntimeOptions) -> Room:
    """On the first card, beside what other programs have taken of it; without a card in main memory."""
    if machine.device == "cpu":
        budget = max(0, machine.free_ram_bytes - constants.CPU_BASE_BYTES)
        total = machine.ram_bytes
        return Room(
            budget=budget, weights=budget, total=total, free_ram=machine.free_ram_bytes, on_card=False
        )
    card = machine.gpus[0]
    free = min(card.total_bytes, card.free_bytes + card.held_bytes)
    budget = max(0, free - constants.RESERVED_BYTES)
    weights = budget
    if options.vram_threshold_percent != AUTO:
        taken = card.total_bytes - free
        ceiling = card.total_bytes * int(options.vram_threshold_percent) // 100 - taken
        weights = max(0, min(budget, ceiling))
    return Room(
        budget=budget,
        weights=weights,
        total=card.total_bytes,
        pinned=_pinned_bytes(machine, options),
        free_ram=machine.free_ram_bytes,
    )


def with_own_memory(machine: Hardware, held_bytes: int) -> Hardware:
    """The machine as it is for a program that knows better than NVML that it holds `held_bytes` of the first
    card itself, in models that it would drop.
    """
    if not machine.gpus:
        return machine
    card = machine.gpus[0]
    held = max(card.held_bytes, held_bytes)
    return replace(machine, gpus=(replace(card, held_bytes=held), *machine.gpus[1:]))


def _pinned_bytes(machine: Hardware, options: RuntimeOptions) -> int:
    """At most half of main memory, and 4 GB stay free: what is page-locked is lost to everything else."""
    if not (options.enable_dram_optimization and options.enable_cuda_optimization):
        return 0
    return max(0, min(machine.ram_bytes // 2, machine.free_ram_bytes - constants.HOST_BASE_BYTES))
