"""How fast a machine is: measured, or guessed from published figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wanvideo.hardware import Hardware
from wanvideo.known_cards import KnownCard, card_of
from wanvideo.memory import constants
from wanvideo.registry import QuantizationMode

DENSE, FAST, OWN = "dense", "fast", "own"
FAST_CAPABILITY, OWN_CAPABILITY = (8, 9), (10, 0)
# Copies from page-locked memory in GB/s, by the PCIe generation of the cards' time.
COPY_GBS = {(7, 0): 12.0, (8, 0): 24.0, (9, 0): 50.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """`matmul`: TFLOP/s of a linear in DENSE (the base precision) and, where the card has them, FAST (8 bits)
    and OWN (a mode's own tensor cores); `attention`: TFLOP/s by backend, of which "" is the exact one. GB/s
    of `memory`, and of copies to the card from `pinned` and from `pageable` memory. `convolution`: TFLOP/s
    in the VAE. `cpu`: TFLOP/s of a linear in fp32 there.
    """

    matmul: Mapping[str, float]
    attention: Mapping[str, float]
    memory: float
    pinned: float
    pageable: float
    convolution: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is known of a machine's speed. `rates`: measured, None while they are guessed. `corrections`:
    `Job.kind` -> stage -> measured seconds beside the forecast of these rates. `compiling`: `Job.kind` ->
    seconds that compiling took when it was last done.
    """

    rates: Rates | None = None
    corrections: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compiling: Mapping[str, float] = field(default_factory=dict)


def matmul_class(mode: QuantizationMode, own_cores: bool) -> str:
    """Which of `Rates.matmul` the mode's products run at."""
    if own_cores:
        return OWN
    return DENSE if mode.fallback is None else FAST


def guessed_rates(machine: Hardware) -> Rates:
    """From the published figures of the card, half of which is what runs reach; on a CPU from its cores."""
    cpu = machine.cores * constants.GUESSED_CORE_TFLOPS
    if machine.device == "cpu":
        rate = constants.GUESSED_CPU_GBS
        return Rates(
            matmul=dict.fromkeys((DENSE, FAST, OWN), cpu),
            attention={"": cpu},
            memory=rate,
            pinned=rate,
            pageable=rate,
            convolution=cpu,
            cpu=cpu,
        )
    gpu = machine.gpus[0]
    card = card_of(gpu.name, gpu.total_bytes)
    tflops, gbs = _published(card)
    pinned = COPY_GBS[max(since for since in COPY_GBS if since <= max(gpu.compute_capability, (7, 0)))]
    has_fast, has_own = (gpu.compute_capability >= since for since in (FAST_CAPABILITY, OWN_CAPABILITY))
    fast = tflops * constants.FAST_FACTOR if has_fast else tflops
    return Rates(
        matmul={DENSE: tflops, FAST: fast, OWN: tflops * constants.OWN_FACTOR if has_own else fast},
        attention={"": tflops},
        memory=gbs,
        pinned=pinned,
        pageable=pinned * constants.PAGEABLE_SHARE,
        convolution=tflops / 2,  # TF32
        cpu=cpu,
    )


def _published(card: KnownCard | None) -> tuple[float, float]:
    share = constants.EXPECTED_SHARE
    if card is None:
        return constants.GUESSED_CARD_TFLOPS * share, constants.GUESSED_CARD_GBS
    return card.tflops * share, card.gbs
