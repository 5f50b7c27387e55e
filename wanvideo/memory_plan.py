"""What was decided about memory: what is streamed, chunked and tiled, and what a job is expected to take.

Data alone; `memory` decides it, `placement` and `pipeline` carry it out.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """The last `blocks` of a model live in host memory and are copied to the card when their turn comes.

    Copies go into `slots` on the card, over `streams` copy streams in turn. `asynchronous`: copied ahead from
    page-locked memory, of which `pinned_bytes` at most are taken; else copied when they are needed. `timed`:
    copying, waiting and computing are measured for each block, and logged.
    """

    blocks: int = 0
    slots: int = 2
    streams: int = 1
    asynchronous: bool = True
    pinned_bytes: int = 0
    timed: bool = False


RESIDENT = SwapPlan()

# Kinds of work that need memory on the card beside the weights they work with.
TRANSFORMER, TEXT_ENCODER, IMAGE_ENCODER = "model", "text encoder", "image encoder"
VAE_ENCODE, VAE_DECODE = "VAE encode", "VAE decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How one job lives on the card.

    `budget_bytes` of the card may be taken, 0 means no limit (and on a CPU there is none). `chunk_tokens`:
    blocks work on that many tokens at a time, 0 is all. `passes_together`: the guidance passes of a step go
    through the model block by block, so that a swapped block is copied once for all of them.
    `text_embedding_leaves` and `image_embedding_leaves`: those weights leave the card once their output is
    there. `steps_aside`: the diffusion model leaves the card before the VAE decodes. `quantizes_on_host`:
    weights are quantized in host memory and wait there between jobs. `decode_tile` and `encode_tile`: edge in
    pixels of the VAE's tiles, 0 is the whole picture.
    """

    budget_bytes: int = 0
    transformer: SwapPlan = RESIDENT
    text_encoder: SwapPlan = RESIDENT
    chunk_tokens: int = 0
    passes_together: bool = False
    text_embedding_leaves: bool = False
    image_embedding_leaves: bool = False
    steps_aside: bool = False
    quantizes_on_host: bool = False
    decode_tile: int = 0
    encode_tile: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """What one stage of `stage_clock` takes: bytes of the card at its peak, seconds over the whole job."""

    device_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a job is expected to take. `stages`: name -> its share, in the order of the job.

    `working`: kind of work -> bytes of the card beside the weights. `host_bytes`: main memory at the peak;
    `disk_bytes`: written to disk; `swapped_bytes`: of the diffusion model's weights, in main memory;
    `total_bytes`: of the card, 0 without one. Seconds are `calibrated` when they come from a measurement on
    this machine, and leave out loading, and compiling: that is known to take `compile_seconds` where it is
    done, once after each start of the program.
    """

    stages: dict[str, StageForecast] = field(default_factory=dict)
    working: dict[str, int] = field(default_factory=dict)
    host_bytes: int = 0
    disk_bytes: int = 0
    swapped_bytes: int = 0
    total_bytes: int = 0
    calibrated: bool = False
    compile_seconds: float = 0.0

    @property
    def device_bytes(self) -> int:
        """The peak on the card over all stages."""
        return max((stage.device_bytes for stage in self.stages.values()), default=0)

    @property
    def seconds(self) -> float:
        """All stages together."""
        return sum(stage.seconds for stage in self.stages.values())
