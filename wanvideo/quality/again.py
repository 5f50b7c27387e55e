"""What is done about a window that came out broken: it is decoded again in fp32 where the VAE may have left
the range of fp16, else it is made again with exact attention; each of them once.
"""

from dataclasses import replace

from wanvideo.errors import UserError
from wanvideo.plan import GenerationPlan
from wanvideo.quality.guard import DECODED, NAN, BrokenOutput
from wanvideo.registry import attention_backends, quantization_modes

MAY_OVERFLOW = "fp16"  # bf16 has the range of fp32


def tried_again(plan: GenerationPlan, window: int, broken: BrokenOutput) -> GenerationPlan:
    """The plan for another try at that window and for all after it; its last note says what is done. What
    was denoised can be kept if only `vae_dtype` is another.

    Raises UserError when nothing is left to try.
    """
    if broken.what == NAN and broken.where == DECODED and plan.vae_dtype == MAY_OVERFLOW:
        return _with_exact_vae(plan, window, broken)
    return with_exact_attention(plan, window, broken)


def with_exact_attention(plan: GenerationPlan, window: int, broken: BrokenOutput) -> GenerationPlan:
    """The plan for another try at that window and for all after it; its last note says what is done.

    Raises UserError when the attention was exact already: then another try would come out the same.
    """
    table = attention_backends()
    suspect = table[plan.attention]
    if suspect.fallback is None:
        raise _no_video(plan, window, broken)
    exact = next(row for row in table.values() if row.fallback is None)
    advice = "" if suspect.fallback == exact.name else f"; next time {suspect.fallback} may do"
    note = (
        f"{suspect.name} made {broken.what} {broken.where} of window {window + 1}: "
        f"this window is made again, and all after it, with {exact.name}, which is exact{advice}"
    )
    return replace(plan, attention=exact.name, notes=(*plan.notes, note))


def _with_exact_vae(plan: GenerationPlan, window: int, broken: BrokenOutput) -> GenerationPlan:
    note = (
        f"the VAE in {plan.vae_dtype} made {broken.what} {broken.where} of window {window + 1}: "
        f"this window is decoded again, and all after it, in fp32"
    )
    return replace(plan, vae_dtype="fp32", notes=(*plan.notes, note))


def _no_video(plan: GenerationPlan, window: int, broken: BrokenOutput) -> UserError:
    mode = quantization_modes()[plan.quantization]
    if mode.fallback is None:
        mend = "base_precision bf16 or fp32"
    else:  # only modes that multiply in low precision have one
        mend = f"quantization {mode.fallback} instead of {mode.name}"
    what = f"with exact attention the model made {broken.what} {broken.where} of window {window + 1}"
    fix = f"No video is kept of that. Try {mend}, more steps, other guidance or another seed."
    return UserError(what, fix=fix)
