"""The big linears of the blocks, one after the other: read, moved, quantized, built.

On a CPU one weight at a time is in full anywhere: the host needs the largest tensor beside the result.
On a card the next weights are on their way meanwhile, see `staging`.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor, nn

from wanvideo.checkpoint.staging import Bundle, Carrier
from wanvideo.checkpoint.state import FoundWeight, State
from wanvideo.effective_mode import DENSE
from wanvideo.quantization import fp8
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.stored import StoredWeight
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode, quantization_modes

Place: TypeAlias = torch.device | str
Home: TypeAlias = Callable[[str], Place]  # name of a tensor -> where it waits once it is made
Progress: TypeAlias = Callable[[int, int], None]  # (done, all)
_BIAS = "bias"  # beside the names of a weight's own tensors
_FEWER = 0.9  # a mode has fewer bits than a format below this share


def ignore_progress(done: int, total: int) -> None:
    """The callback of those who do not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Linears are made on `device`, by way of the carrier, and compute in `dtype`. They stay there unless
    `home` sends them elsewhere. `progress` gets those that are done and their number, and may raise to stop.
    """

    carrier: Carrier
    device: Place
    dtype: torch.dtype
    home: Home | None = None
    progress: Progress = ignore_progress


def build_linears(
    module: nn.Module,
    state: State,
    found: dict[str, FoundWeight],
    mode: QuantizationMode,
    place: tuple[Place, torch.dtype],
    progress: Progress,
) -> None:
    """As `bring_linears`, with readers of its own: all to the device of `place`, in its dtype."""
    device, dtype = place
    size = sum(part.numel() for part in module.parameters()) * dtype.itemsize
    with closing(Carrier(device, size)) as carrier:
        to = Destination(carrier=carrier, device=device, dtype=dtype, progress=progress)
        bring_linears(module, state, found, mode, to)


def bring_linears(
    module: nn.Module, state: State, found: dict[str, FoundWeight], mode: QuantizationMode, to: Destination
) -> None:
    """Replace every big linear of `module` by the mode's own. What it is made of is taken out of `state`
    (dense) and `found` (quantized in the file).
    """
    device, dtype, home, progress = to.device, to.dtype, to.home, to.progress
    modules = dict(module.named_modules())
    linears = {name: linear for name, linear in modules.items() if _is_big(name, linear)}
    homes = {name: home(f"{name}.weight") if home else device for name in linears}
    done = 0
    # What stays as the file has it goes straight home, the rest is computed on the device first.
    made_on = {name: homes[name] if _stays(mode, found.get(f"{name}.weight")) else device for name in linears}
    for where, group in groupby(linears, key=lambda name: made_on[name]):
        names = list(group)
        bundles = (_tensors_of(name, state, found) for name in names)
        for name, tensors in zip(names, to.carrier.bring(bundles, where), strict=True):
            progress(done, len(linears))
            bias = tensors.pop(_BIAS, None)
            weight = _arrived(found.pop(f"{name}.weight", None), tensors)
            stored = stored_for(mode, _with_shape(weight.stored_on(where), linears[name]), where)
            stored = _moved(stored, homes[name])
            bias = None if bias is None else bias.to(device=device, dtype=dtype)
            owner, _, own_name = name.rpartition(".")
            setattr(modules[owner], own_name, _made_by(mode, weight).make_linear(stored, bias, dtype))
            done += 1
    progress(len(linears), len(linears))


def _stays(mode: QuantizationMode, found: FoundWeight | None) -> bool:
    """Whether the mode takes a weight over bit by bit, with nothing to compute."""
    if mode.store is None or found is None:
        return mode.store is None
    stored = found.stored
    return stored.format in mode.accepts and ("weight_scale" in stored.tensors or not mode.scaled)


def _tensors_of(name: str, state: State, found: Mapping[str, FoundWeight]) -> Bundle:
    """What a linear is made of: its weight, as the file has it, and its bias."""
    known = found.get(f"{name}.weight")
    tensors = {"weight": state.pop(f"{name}.weight")} if known is None else dict(known.stored.tensors)
    bias = state.pop(f"{name}.bias", None)
    return tensors if bias is None else {**tensors, _BIAS: bias}


def _arrived(found: FoundWeight | None, tensors: Bundle) -> FoundWeight:
    """The weight with its tensors on the device; dense if nothing is known of it."""
    if found is None:
        return dense_found(tensors["weight"])
    return replace(found, stored=replace(found.stored, tensors=tensors))


def stored_for(mode: QuantizationMode, weight: StoredWeight, device: Place = "cpu") -> StoredWeight:
    """The weight as `mode` keeps it, on `device`.

    What a file has in 8 bits or fewer stays bit by bit, unless the mode is denser; a scaled mode gives scales
    to what has none, which changes no value.
    """
    here = _moved(weight, device)
    if mode.store is None:
        return here
    if here.format == DENSE:
        return mode.store(here.tensors["weight"])
    bits = FORMATS[here.format].bits_per_weight
    if here.format in mode.accepts or bits is None or mode.bytes_per_weight * 8 > _FEWER * bits:
        return _with_row_scales(here) if mode.scaled else here
    return mode.store(FORMATS[here.format].dequantize(here, torch.float32))


def _moved(weight: StoredWeight, device: Place) -> StoredWeight:
    return replace(weight, tensors={name: tensor.to(device) for name, tensor in weight.tensors.items()})


def _is_big(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and is_quantized_linear(name)


def dense_found(weight: Tensor) -> FoundWeight:
    """A plain weight (out, in) as if it were one of the others."""
    out_features, in_features = weight.shape
    stored = StoredWeight(format=DENSE, tensors={"weight": weight}, shape=(out_features, in_features))
    return FoundWeight(stored=stored, shape=stored.shape)


def _with_shape(stored: StoredWeight, linear: nn.Module) -> StoredWeight:
    """A packed weight does not tell how much of its last block is filling; the module does."""
    assert isinstance(linear, nn.Linear)
    return replace(stored, shape=(linear.out_features, linear.in_features))


def _made_by(mode: QuantizationMode, weight: FoundWeight) -> QuantizationMode:
    """The mode, or its exact fallback for a layer whose file forbids a matmul in low precision."""
    if not weight.exact_matmul or mode.fallback is None:
        return mode
    return quantization_modes()[mode.fallback]


def _with_row_scales(stored: StoredWeight) -> StoredWeight:
    """An fp8 weight without scale, as payload and a scale for each row; any other as it is.

    The scales are powers of two, the largest that fit: every value stays what it was.
    """
    if stored.format not in fp8.DTYPES or "weight_scale" in stored.tensors:
        return stored
    payload = stored.tensors["weight"].clone()
    largest = torch.finfo(payload.dtype).max
    scale = torch.ones(payload.shape[0], 1, device=payload.device)
    step = fp8.rows_at_once(payload)
    for start in range(0, payload.shape[0], step):
        rows = slice(start, start + step)
        values = payload[rows].float()
        amax = values.abs().amax(dim=1, keepdim=True)
        factor = torch.where(amax > 0, (largest / amax).log2().floor().exp2(), 1.0)
        payload[rows] = (values * factor).to(payload.dtype)
        scale[rows] = 1 / factor
    return replace(stored, tensors={**stored.tensors, "weight": payload, "weight_scale": scale})
