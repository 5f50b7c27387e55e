"""A small MelBand RoFormer as a file like the published one: real class, real bands, known behaviour."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from wanvideo.models.mel_band_roformer import (
    COMPUTED,
    FFT,
    HEAD_DIM,
    SAMPLE_RATE,
    MelBandRoformer,
    SeparatorConfig,
)

SIZES = SeparatorConfig(dim=8, depth=2, heads=2)
LOW_PASS_HERTZ = 2000


def waves(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values that any framework and version makes alike, of about the size of trained ones."""
    filled = {}
    for index, (name, tensor) in enumerate(sorted(state.items())):
        places = torch.arange(tensor.numel(), dtype=torch.float64)
        wave = torch.sin(places * (0.37 + 0.011 * index)).reshape(tensor.shape)
        spread = tensor.shape[-1] ** 0.5 if tensor.ndim > 1 else 2.0
        filled[name] = (1 + 0.3 * wave if name.endswith("gamma") else wave / spread).float()
    return filled


def wave_model() -> MelBandRoformer:
    """A model whose mask depends on the whole piece."""
    model = MelBandRoformer(SIZES).eval().requires_grad_(False)
    model.load_state_dict(waves(model.state_dict()))
    return model


def low_pass_model(hertz: float = LOW_PASS_HERTZ) -> MelBandRoformer:
    """A model whose mask is 1 in bands that end below `hertz`, and 0 elsewhere, whatever it hears."""
    model = wave_model()
    for bins, mlp in zip(model.bins, model.mask_estimators[0].to_freqs, strict=True):  # type: ignore[arg-type]
        last = mlp[0][-1]
        last.weight.zero_()
        values, gates = last.bias.chunk(2)
        values.zero_()
        values[0::2] = float(bins.stop * SAMPLE_RATE / FFT < hertz)  # the real parts
        gates.fill_(30)
    return model


def write_separator(path: Path, model: MelBandRoformer, dtype: torch.dtype = torch.float16) -> Path:
    """The file, with the rotary frequencies that the published one has."""
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    frequencies = 10_000 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    for layer in {name.rpartition(".to_qkv")[0] for name in state if ".to_qkv." in name}:
        state[f"{layer}.{COMPUTED}"] = frequencies.to(dtype, copy=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    return path
