"""A transformer of a published size with random weights, drawn one by one where they are wanted.

Nothing is kept beside the model: a weight is drawn on the card when its linear is built, by a seed made of
its name, so every mode gets the same weights and the dense ones need no second place.
"""

import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import device, wait
from wanvideo.checkpoint.quantized_linears import build_linears, ignore_progress
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode

DTYPE = torch.bfloat16
BIG_STD, OTHER_GAIN, BIAS_STD = 0.02, 1.5, 0.02
OUTLIERS, OUTLIER_SIZE = 6, (10.0, 20.0)  # input channels of a big linear that stand out, and how far


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """A transformer and the latents it is given; prompts have 512 rows."""

    heads: int
    ffn_dim: int
    layers: int
    text_dim: int
    freq_dim: int
    latents: tuple[int, int, int, int]

    def config(self) -> dict[str, Any]:
        """As WanTransformer takes it."""
        return {
            "num_attention_heads": self.heads,
            "attention_head_dim": 128,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": self.text_dim,
            "freq_dim": self.freq_dim,
            "ffn_dim": self.ffn_dim,
            "num_layers": self.layers,
        }


WAN_14B = ModelSize(  # and 81 frames of 832 x 480: 32,760 tokens
    heads=40, ffn_dim=13824, layers=40, text_dim=4096, freq_dim=256, latents=(16, 21, 60, 104)
)
TINY = ModelSize(heads=2, ffn_dim=512, layers=2, text_dim=64, freq_dim=64, latents=(16, 3, 8, 8))


class SeededWeights(dict[str, Tensor]):
    """Stands for the tensors of a file: `pop` draws the one of that name. `seconds` is what drawing took."""

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.left, self.seconds = dict(shapes), 0.0

    def pop(self, name: str, *default: Any) -> Any:
        """The tensor, on the device."""
        if name not in self.left and default:
            return default[0]
        wait()
        begun = time.perf_counter()
        tensor = draw(name, self.left.pop(name))
        wait()
        self.seconds += time.perf_counter() - begun
        return tensor


def draw(name: str, shape: torch.Size) -> Tensor:
    """Values as a trained model's: big linears have a few input channels of 10 to 20 times the size."""
    generator = torch.Generator(device()).manual_seed(zlib.crc32(name.encode()))
    dtype = torch.float32 if keeps_fp32(name) else DTYPE
    tensor = torch.randn(shape, generator=generator, dtype=dtype, device=device())
    if len(shape) == 1:
        return tensor.mul_(BIAS_STD).add_(1.0 if "norm" in name and name.endswith(".weight") else 0.0)
    if not is_quantized_linear(name.removesuffix(".weight")):
        return tensor.mul_(OTHER_GAIN / math.sqrt(math.prod(shape[1:])))
    outliers = torch.randperm(shape[1], generator=generator, device=device())[:OUTLIERS]
    factors = torch.empty(len(outliers), device=device()).uniform_(*OUTLIER_SIZE, generator=generator)
    tensor.mul_(BIG_STD)
    tensor[:, outliers] *= factors.to(dtype)
    return tensor


def build(
    size: ModelSize, mode: QuantizationMode, make: Callable[[], WanTransformer] | None = None
) -> tuple[WanTransformer, SeededWeights]:
    """The model, its big linears made by the application's own loader. `make`: for one that is not text to
    video.
    """
    with torch.device("meta"):
        model = make() if make is not None else WanTransformer(**size.config())
    weights = SeededWeights({name: tensor.shape for name, tensor in model.state_dict().items()})
    build_linears(model, weights, {}, mode, (device(), DTYPE), ignore_progress)
    rest = {name: weights.pop(name) for name in list(weights.left)}
    model.load_state_dict(rest, strict=False, assign=True)
    return model.eval().requires_grad_(False), weights
