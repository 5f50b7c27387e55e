"""Bytes of the card in each stage of a fresh job under a memory plan: the weights that have to be there, and
what works on them. Models that wait there between stages leave when room is needed.
"""

from wanvideo.memory import constants
from wanvideo.memory.activations import decode_bytes, encode_bytes, transformer_bytes
from wanvideo.memory.sizes import ModelSizes
from wanvideo.memory.work import Job
from wanvideo.memory_plan import (
    IMAGE_ENCODER,
    TEXT_ENCODER,
    TRANSFORMER,
    VAE_DECODE,
    VAE_ENCODE,
    MemoryPlan,
    SwapPlan,
)

TEXT, SPEECH, PICTURE, CONDITION, DENOISE, DECODE = (
    "text", "speech", "picture", "condition", "denoise", "decode",
)  # fmt: skip


def stage_bytes(job: Job, memory: MemoryPlan) -> dict[str, int]:
    """Stage -> its peak, in the order of the job. A stage that a job has not is left out."""
    stages = {TEXT: text_bytes(job.sizes, memory.text_encoder)}
    if job.work.speech_seconds:
        stages[SPEECH] = 0
    stages[PICTURE] = picture_bytes(job, memory)
    if job.work.first_frames:
        stages[CONDITION] = condition_bytes(job, memory)
    stages[DENOISE] = denoise_bytes(job, memory)
    stages[DECODE] = beside_decoder(job, memory) + job.sizes.vae + decode_bytes(job, memory.decode_tile)
    return stages


def with_idle(job: Job, memory: MemoryPlan, budget: int) -> dict[str, int]:
    """The same with what stays on the card as far as it fits within `budget`: idle models of earlier stages,
    the one used last longest, and freed pieces of the decoder that PyTorch's allocator keeps.
    """
    sizes = job.sizes
    text = 0 if memory.text_encoder.blocks else sizes.text_encoder
    encoders = [sizes.image_encoder * job.work.has_picture, text]
    beside = {PICTURE: [text], CONDITION: encoders, DENOISE: [sizes.vae, *encoders], DECODE: encoders}
    stages = stage_bytes(job, memory)
    for stage, idle in beside.items():
        for size in idle if stage in stages else ():
            if stages[stage] + size > budget:
                break
            stages[stage] += size
    kept = int(constants.DECODE_KEPT * decode_bytes(job, memory.decode_tile))
    stages[DECODE] = max(stages[DECODE], min(budget, stages[DECODE] + kept))
    return stages


def text_bytes(sizes: ModelSizes, swap: SwapPlan) -> int:
    """Of the text encoder at work; its table is not on the card while layers are swapped."""
    resident = (sizes.text_layers - swap.blocks) * sizes.text_layer
    if not swap.blocks:
        return resident + sizes.text_table + constants.TEXT_WORKING_BYTES
    return resident + _slots(swap) * sizes.text_layer + constants.TEXT_WORKING_BYTES


def picture_bytes(job: Job, memory: MemoryPlan) -> int:
    """CLIP and the VAE, one after the other. Without a picture the VAE looks at small cards of colour."""
    clip = job.sizes.image_encoder + constants.IMAGE_WORKING_BYTES if job.work.has_picture else 0
    encoding = encode_bytes(job, memory.encode_tile) if job.work.picture_frames else 0
    return max(clip, job.sizes.vae + encoding)


def condition_bytes(job: Job, memory: MemoryPlan) -> int:
    """The VAE, and CLIP for a source video; from the second window on beside the diffusion model."""
    beside = beside_decoder(job, memory) if job.work.windows > 1 else 0
    clip = job.sizes.image_encoder + constants.IMAGE_WORKING_BYTES if job.work.follows_video else 0
    return beside + max(clip, job.sizes.vae + encode_bytes(job, memory.encode_tile))


def denoise_bytes(job: Job, memory: MemoryPlan) -> int:
    """The resident part of the diffusion model, the slots, and what works on them."""
    return weights_bytes(job.sizes, memory) + transformer_bytes(job, memory)


def weights_bytes(sizes: ModelSizes, memory: MemoryPlan) -> int:
    """Of the diffusion model on the card during a step: resident weights and slots."""
    return resident_bytes(sizes, memory) + _slots(memory.transformer) * sizes.block


def resident_bytes(sizes: ModelSizes, memory: MemoryPlan) -> int:
    """Of the diffusion model between its steps, without slots."""
    leaving = sizes.text_embedding * memory.text_embedding_leaves
    leaving += sizes.image_embedding * memory.image_embedding_leaves
    return sizes.outside - leaving + (sizes.blocks - memory.transformer.blocks) * sizes.block


def beside_decoder(job: Job, memory: MemoryPlan) -> int:
    """Of the diffusion model, on the card while the VAE works."""
    return 0 if memory.steps_aside else resident_bytes(job.sizes, memory)


def swapped_bytes(sizes: ModelSizes, memory: MemoryPlan) -> int:
    """Of the diffusion model, in main memory."""
    return memory.transformer.blocks * sizes.block


def working_bytes(job: Job, memory: MemoryPlan) -> dict[str, int]:
    """Kind of work -> what it needs beside the resident weights: slots, and what it makes."""
    sizes = job.sizes
    return {
        TEXT_ENCODER: _slots(memory.text_encoder) * sizes.text_layer + constants.TEXT_WORKING_BYTES,
        IMAGE_ENCODER: constants.IMAGE_WORKING_BYTES,
        VAE_ENCODE: encode_bytes(job, memory.encode_tile),
        TRANSFORMER: _slots(memory.transformer) * sizes.block + transformer_bytes(job, memory),
        VAE_DECODE: decode_bytes(job, memory.decode_tile),
    }


def _slots(swap: SwapPlan) -> int:
    return min(swap.slots, swap.blocks)
