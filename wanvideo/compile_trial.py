"""Compiled blocks on a small model in one quantization mode: right beside fp32, in whole and in chunks, for
more than one size, and how fast.

What compiled code rounds elsewhere than the blocks themselves do must not take it further from fp32 than they
are: the yardstick is their own error.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.transformer import WanTransformer, token_grid
from wanvideo.proof.kept import Trial
from wanvideo.proof.timing import interleaved
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import LinearMaker, QuantizationMode, StoredWeight, quantization_modes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MOST_TIMES_PLAIN, LEAST_LIMIT = 1.25, 1e-3  # of the blocks' own error, and of the output
CHUNKS = 3
TEXT_DIM, PROMPT_TOKENS, TIMESTEP = 64, 7, 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of the model, and of the latents it is given: (frames, height, width) of each."""

    heads: int
    ffn_dim: int
    latents: tuple[tuple[int, int, int], ...]


# The 1.3B model's blocks over 41 frames of 832 x 480, after a small size; a CPU gets a small part of that
SIZES = {
    "cuda": Size(heads=12, ffn_dim=8960, latents=((3, 32, 32), (11, 60, 104))),
    "cpu": Size(heads=1, ffn_dim=256, latents=((2, 8, 8), (3, 8, 12))),
}


def run_trial(trial: Trial) -> dict[str, Any]:
    """The findings, as fields of a CompileProof, and `fault`: what is wrong, else empty. An error of the
    compiler is raised.
    """
    if trial.device != "cpu" and importlib.util.find_spec("triton") is None:
        return {"fault": "Triton not installed"}
    row = quantization_modes()[trial.name]
    found: dict[str, Any] = {}
    with torch.no_grad():
        for make in _makers(row, cores=trial.cores):
            found = _examine(row, make, trial)
            if found["fault"]:
                break
    return found


def _makers(row: QuantizationMode, *, cores: bool) -> Iterator[LinearMaker]:
    """The mode's own cores come last: their figures are told."""
    yield row.make_linear
    if cores and row.cores is not None:
        yield row.cores.make_linear


def _examine(row: QuantizationMode, make: LinearMaker, trial: Trial) -> dict[str, Any]:
    size, dtype = SIZES[trial.device], DTYPES[trial.dtype]
    peer = quantization_modes()[row.fallback] if row.fallback else row
    exact = _model(size, row, peer.make_linear, torch.float32, trial.device)
    plain, ours = (_model(size, row, make, dtype, trial.device) for _ in range(2))
    found: dict[str, Any] = {"fault": "", "computed_by": "torch.compile"}
    with compiled_blocks(ours.blocks, lambda _: None, falls_back=False):
        for latents in size.latents:
            calls = [_call(model, latents, trial.device) for model in (ours, plain, exact)]
            for chunk in (0, _chunk(latents)):
                ours.set_chunks(chunk)
                begun = time.perf_counter()
                found |= _errors(*(call() for call in calls))
                found.setdefault("compile_seconds", round(time.perf_counter() - begun, 1))
                if found["fault"]:
                    return found
        ours.set_chunks(0)
        return found | interleaved({"milliseconds": calls[0], "peer_milliseconds": calls[1]})


def _model(
    size: Size, row: QuantizationMode, make: LinearMaker, dtype: torch.dtype, device: str
) -> WanTransformer:
    """Two blocks with random weights, the same each time, and linears as `make` has them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = WanTransformer(
            num_layers=2, num_attention_heads=size.heads, attention_head_dim=128, in_channels=16,
            out_channels=16, text_dim=TEXT_DIM, freq_dim=64, ffn_dim=size.ffn_dim,
        )  # fmt: skip
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(device, torch.float32 if keeps_fp32(name) else dtype)
    for name, layer in list(model.named_modules()):
        if is_quantized_linear(name) and isinstance(layer, nn.Linear):
            model.set_submodule(name, make(_stored(row, layer.weight.data.bfloat16()), layer.bias, dtype))
    model.eval()
    return model


def _stored(row: QuantizationMode, weight: Tensor) -> StoredWeight:
    if row.store is not None:
        return row.store(weight)
    out_features, in_features = weight.shape
    return StoredWeight(format="dense", tensors={"weight": weight}, shape=(out_features, in_features))


def _call(model: WanTransformer, latents: tuple[int, int, int], device: str) -> Callable[[], Tensor]:
    """A forward pass over the same noise for every model."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    given, context = noise(1, 16, *latents), model.embed_context(noise(1, PROMPT_TOKENS, TEXT_DIM))
    timestep = torch.full((1,), TIMESTEP, device=device)
    return partial(model.forward, given, timestep, context, rotary=model.rotary(given))


def _chunk(latents: tuple[int, int, int]) -> int:
    frames, rows, columns = token_grid(torch.empty(1, 1, *latents, device="meta"))
    return frames * rows * columns // CHUNKS


def _errors(ours: Tensor, plain: Tensor, exact: Tensor) -> dict[str, Any]:
    """`fault` and the relative errors of the compiled blocks beside the plain ones, and of both beside
    `exact`.
    """
    errors = {
        "error": _error(ours, plain),
        "exact_error": _error(ours, exact),
        "plain_error": _error(plain, exact),
    }
    limit = max(MOST_TIMES_PLAIN * errors["plain_error"], LEAST_LIMIT)
    fault = ""
    if not errors["exact_error"] <= limit:  # NaN is no number below it
        fault = f"its result is off by {errors['exact_error']:.4f}, at most {limit:.4f} is right"
    return {"fault": fault, **errors}


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
