"""Errors after which a process can't use the card any more, and what is done about them.

CUDA reports an illegal access at some later call, and every call after it fails: only another process helps.
"""

import os
from collections.abc import Iterator, Sequence

from wanvideo.options import COMPILE_BLOCKS
from wanvideo.plan import GenerationPlan
from wanvideo.proof.kept import ATTENTION, COMPILE, QUANTIZATION
from wanvideo.proof.suspects import Suspect
from wanvideo.registry import attention_backends, quantization_modes

CARD_BROKEN, FRESH_PROCESS = 86, 87  # exit codes of a worker that wants to be started again at once
BLOCKING = "CUDA_LAUNCH_BLOCKING"

# What the driver calls the errors that stay, in the texts of PyTorch, Triton and cuBLAS.
_STICKY = (
    "misaligned address",
    "illegal memory access",
    "illegal instruction",
    "illegal address",
    "invalid address space",
    "invalid program counter",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "hardware stack error",
    "uncorrectable ecc error",
    "cublas_status_execution_failed",
    "cublas_status_internal_error",
)


def sticky_error(error: BaseException) -> str | None:
    """What the card reported, in its own words; None when the process can go on. Errors that the error came
    from count too: putting models back may have failed after it.
    """
    for one in _chain(error):
        words = str(one).lower()
        found = next((text for text in _STICKY if text in words), None)
        if isinstance(one, RuntimeError) and found:
            return found
    return None


def next_suspect(plan: GenerationPlan, known: Sequence[Suspect], reason: str) -> Suspect | None:
    """What to leave out first that is not `known`; None when plain exact code ran. `reason` is that of
    `sticky_error`.
    """
    accused = {(suspect.kind, suspect.name) for suspect in known}
    told = f"a job ended with a CUDA error ({reason}), so it is not used until the program is started again"
    left = (running for running in _foreign(plan) if running not in accused)
    return next((Suspect(kind=kind, name=name, reason=told) for kind, name in left), None)


def _foreign(plan: GenerationPlan) -> Iterator[tuple[str, str]]:
    """(kind, name) of a foreign attention kernel, of compiled blocks and of a quantization that multiplies in
    low precision. The last changes the video when it is left out, compiled code does not.
    """
    attention, mode = attention_backends()[plan.attention], quantization_modes()[plan.quantization]
    if attention.fallback is not None:
        yield ATTENTION, attention.name
    if plan.compile.blocks:
        yield COMPILE, COMPILE_BLOCKS
    if mode.fallback is not None:
        yield QUANTIZATION, mode.name


def broken_note(suspect: Suspect | None, reason: str, window: int) -> str:
    """What is said of a job that goes on; `window` counts from 1."""
    told = f"CUDA error ({reason}) in window {window}: the worker was started again and this window made anew"
    if suspect is None:
        return told
    if suspect.kind == COMPILE:
        return f"{told} without compiled blocks; CUDA reports errors late, so they may be innocent"
    return f"{told} without {suspect.kind} {suspect.name}; CUDA reports errors late, so it may be innocent"


def given_up(reason: str, blocking: bool) -> str:
    """The sentence for a job that broke the card with nothing left to leave out."""
    found = f"The card reported an error ({reason}) even with exact attention and an exact quantization."
    if blocking:
        return f"{found} worker.log names the line. Look for a new driver, or for an unstable card."
    return f"{found} Try it again with blocking launches: slow, but worker.log names the line then."


def block_launches() -> bool:
    """Let every launch of this process wait for its end; False when it uses the card in the other way."""
    import torch

    if BLOCKING not in os.environ and torch.cuda.is_initialized():
        return False
    os.environ[BLOCKING] = "1"
    return True


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the last first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
