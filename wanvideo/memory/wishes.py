"""What the options ask of the memory plan, before it is known what fits."""

from wanvideo.fallback import AUTO
from wanvideo.memory import constants
from wanvideo.memory.fitting import Wishes
from wanvideo.memory.room import Room
from wanvideo.memory.work import Job
from wanvideo.memory_plan import MemoryPlan, SwapPlan
from wanvideo.options import OFFLOAD_DEVICE, RuntimeOptions
from wanvideo.request import OPTION_FIELDS


def wishes_of(options: RuntimeOptions, job: Job, room: Room) -> Wishes:
    """The least number of swapped blocks, the tiles that may be used, and what is as it was asked."""
    if not room.on_card:
        return Wishes(tiles=tiles_of(options, job))
    swap = SwapPlan(
        slots=options.prefetch_blocks + 1 if options.enable_cuda_optimization else 1,
        streams=streams_of(options),
        asynchronous=options.enable_cuda_optimization,
        pinned_bytes=room.pinned,
        timed=options.debug_mode,
    )
    # Page-locking takes longer than the one or two copies of a text encoder's layers.
    text = SwapPlan(streams=swap.streams, asynchronous=swap.asynchronous)
    start = MemoryPlan(
        budget_bytes=room.budget,
        transformer=swap,
        text_encoder=text,
        text_embedding_leaves=options.offload_txt_emb,
        image_embedding_leaves=options.offload_img_emb and job.sizes.image_embedding > 0,
        steps_aside=options.force_offload,
        quantizes_on_host=options.load_device == OFFLOAD_DEVICE,
    )
    return Wishes(
        blocks=asked_blocks(options),
        start=start,
        staging_share=options.bandwidth_target,
        tiles=tiles_of(options, job),
    )


def asked_blocks(options: RuntimeOptions) -> int:
    """The least number of blocks to swap."""
    return 0 if options.blocks_to_swap == AUTO else int(options.blocks_to_swap)


def streams_of(options: RuntimeOptions) -> int:
    """As asked, at most what gains; the default is automatic, unless nothing is to be."""
    is_default = options.num_cuda_streams == OPTION_FIELDS["num_cuda_streams"].default
    if is_default and options.auto_hardware_tuning:
        return constants.AUTOMATIC_STREAMS
    return min(options.num_cuda_streams, constants.MOST_STREAMS)


def tiles_of(options: RuntimeOptions, job: Job) -> tuple[int, ...]:
    """Edges of the tiles that may be used, 0 is the whole picture. None are as large as the picture."""
    edge = max(job.work.height, job.work.width)
    smaller = tuple(tile for tile in constants.VAE_TILES if tile < edge)
    if not smaller or options.vae_tiling == "off":
        return (0,)
    return smaller if options.vae_tiling == "on" else (0, *smaller)
