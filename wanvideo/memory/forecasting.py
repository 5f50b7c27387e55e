"""A job's forecast: bytes of the card in each stage, main memory, disk; what is said when they do not fit."""

from collections.abc import Iterator
from dataclasses import replace

from wanvideo.errors import UserError
from wanvideo.memory import constants
from wanvideo.memory.fitting import EVERY_TILE, Wishes, fit, peak_bytes
from wanvideo.memory.remarks import gigabytes
from wanvideo.memory.room import Room
from wanvideo.memory.stages import resident_bytes, stage_bytes, swapped_bytes
from wanvideo.memory.work import Job, Work, shorter_lengths
from wanvideo.memory_plan import MemoryPlan

AREA_STEPS = 20  # sizes that are looked at for one that would fit


def host_bytes(job: Job, memory: MemoryPlan, room: Room) -> int:
    """Main memory at the peak: what is swapped, or steps aside, and the program. Without a card all models
    work there, one after the other.
    """
    sizes = job.sizes
    if not room.on_card:
        return constants.CPU_BASE_BYTES + max(peak_bytes(job, memory), sizes.speech_encoder)
    waiting = swapped_bytes(sizes, memory)
    if memory.steps_aside:
        waiting += resident_bytes(sizes, memory)
    text = memory.text_encoder.blocks * sizes.text_layer
    return constants.HOST_BASE_BYTES + waiting + (text + sizes.text_table if text else 0)


def disk_bytes(work: Work, requantized: int) -> int:
    """Written for the job: its windows and the file made of them; weights that are `requantized` and kept."""
    frames = work.frames * work.windows
    return int(2 * frames * work.pixels * constants.WINDOW_BYTES_PER_PIXEL) + requantized


def about_room(job: Job, memory: MemoryPlan, room: Room, *, strict: bool) -> Iterator[str]:
    """Sentences when the card, or main memory, is expected to be too small. Raises UserError for the card
    when `strict`.
    """
    stages = stage_bytes(job, memory)
    largest = max(stages, key=lambda name: stages[name])
    if room.on_card and stages[largest] > room.budget:
        needs = f"{gigabytes(stages[largest])} of the card ({largest}), {gigabytes(room.budget)} may be taken"
        fix = would_fit(job, memory, room) or "no smaller size and no fewer frames would fit"
        if strict:
            raise UserError("the job is expected to need more than fits", value=needs, fix=f"{fix}.")
        yield f"expected to need {needs}; {fix}"
    host = host_bytes(job, memory, room)
    if host > room.free_ram:
        yield (
            f"expected to need {gigabytes(host)} of main memory, {gigabytes(room.free_ram)} are free: "
            "close other programs, or it will be slow"
        )


def would_fit(job: Job, memory: MemoryPlan, room: Room) -> str:
    """What would fit: the largest smaller size, the most frames; empty when nothing does."""
    work, found = job.work, []
    for share in range(AREA_STEPS - 1, 0, -1):
        smaller = work.smaller(work.pixels * share // AREA_STEPS)
        if _fits(replace(job, work=smaller), memory, room):
            found.append(f"{smaller.width}x{smaller.height}")
            break
    for frames in shorter_lengths(work.frames):
        if _fits(replace(job, work=work.shorter(frames)), memory, room):
            found.append(f"{frames} frames")
            break
    tiled = memory.decode_tile == 0 and _fits(job, memory, room)
    found += ["vae_tiling auto"] if tiled else []
    return f"{' or '.join(found)} would fit" if found else ""


def _fits(job: Job, memory: MemoryPlan, room: Room) -> bool:
    """With everything that saves memory."""
    edge = max(job.work.height, job.work.width)
    tiles = tuple(tile for tile in EVERY_TILE if tile < edge)
    swap = replace(memory.transformer, slots=1)
    wishes = Wishes(
        blocks=job.sizes.blocks, start=replace(memory, transformer=swap, steps_aside=True), tiles=tiles
    )
    return peak_bytes(job, fit(job, wishes, room)) <= room.budget
