"""Checkpoint files -> ready modules.

Weights are mapped from the disk and assigned to a module built on the meta device: nothing is initialised,
and only a tensor that is cast or moved to another device is copied.
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.modeling_utils import no_init_weights
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from wanvideo.checkpoint import configs
from wanvideo.checkpoint.header import DAMAGED
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.quantized_linears import (
    Destination,
    Home,
    Progress,
    bring_linears,
    ignore_progress,
)
from wanvideo.checkpoint.staging import Carrier
from wanvideo.checkpoint.state import (
    FoundWeight,
    State,
    first_names,
    module_state,
    read_file,
    read_state,
    split_state,
)
from wanvideo.effective_mode import as_stored_mode
from wanvideo.errors import UserError
from wanvideo.models.mel_band_roformer import COMPUTED, MelBandRoformer
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.text_encoder import PromptTokenizer, text_encoder_dtype, widen_feed_forward
from wanvideo.models.transformer import WanTransformer
from wanvideo.models.vae import use_fast_cpu_convolution
from wanvideo.models.vae_blocks import use_rows
from wanvideo.registry import QuantizationMode, quantization_modes

M = TypeVar("M", bound=nn.Module)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A collection walks over all that torch and its libraries have made, 0.2 s in which no reader gets on;
    loading leaves hardly a cycle behind.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def load_transformer(
    facts: CheckpointFacts,
    audio: CheckpointFacts | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    mode: QuantizationMode | None = None,
    home: Home | None = None,
    progress: Progress = ignore_progress,
) -> WanTransformer:
    """A diffusion model, joined with an InfiniteTalk module if one is given.

    The big linears of the blocks are kept as `mode` keeps them (None: as the files have them), the rest of
    the blocks in `dtype`; what `keeps_fp32` names stays in fp32. Weights are quantized on `device`, and the
    big ones stay where `home` has them, from the first moment on.
    `progress` gets the linears that are done and their number, and may raise to stop. Raises UserError if the
    two files do not fit together.
    """
    with closing(Carrier(device, facts.bytes)) as carrier:
        state, found = split_state(facts)
        if audio is not None:
            more, more_found = _fitting_audio(facts, audio)
            state, found = state | more, found | more_found
        module, wanted = _empty_transformer(state, found, facts.path)
        to = Destination(carrier=carrier, device=device, dtype=dtype, home=home, progress=progress)
        bring_linears(module, state, found, mode or as_stored_mode(quantization_modes()), to)
        for name in list(found):  # quantized in the file, though it sets the gain of every token
            state[name] = found.pop(name).dense(wanted[name], _transformer_dtype(name, dtype))
        rest = _place_all(state, lambda name: _transformer_dtype(name, dtype), device, carrier)
    module.load_state_dict(rest, strict=False, assign=True)  # names were checked with the shapes
    module.eval().requires_grad_(False)
    return module


def load_vae(
    facts: CheckpointFacts, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> AutoencoderKLWan:
    """A Wan 2.1 VAE of any width and depth, made fast for a CPU or for a card."""
    state = module_state(facts, dtype)
    module = _on_meta(lambda: AutoencoderKLWan(**configs.vae_config(state)))
    module = _assign(module, state, facts.path, lambda _: dtype, device)
    return use_fast_cpu_convolution(module) if module.device.type == "cpu" else use_rows(module)


@_no_collection()
def load_text_encoder(
    facts: CheckpointFacts, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> UMT5EncoderModel:
    """A UMT5 encoder; its tokenizer comes from `load_tokenizer`. In fp16, what overflows is fp32."""
    state = module_state(facts, dtype)
    module = _on_meta(lambda: UMT5EncoderModel(UMT5Config(**configs.text_encoder_config(state))))
    module = _assign(module, state, facts.path, lambda name: text_encoder_dtype(name, dtype), device)
    module.tie_weights()  # assigning made two parameters of the shared embedding
    return widen_feed_forward(module) if dtype == torch.float16 else module


def load_tokenizer(path: Path) -> PromptTokenizer:
    """The tokenizer in a spiece.model file, or the one that a UMT5 file of ComfyUI carries as a tensor.

    Raises UserError if there is none.
    """
    content = path.read_bytes() if path.suffix == ".model" else _embedded_tokenizer(path)
    try:
        return PromptTokenizer(content)
    except ValueError as error:
        raise UserError(f"The tokenizer {path.name} is damaged", fix=DAMAGED) from error


def load_image_encoder(
    facts: CheckpointFacts,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    config: Mapping[str, Any] | None = None,
) -> CLIPVisionModel:
    """The vision tower of CLIP. `config`, else config.json beside the file, tells what shapes don't."""
    state = module_state(facts, dtype)
    sizes = _override(configs.image_encoder_config(state), facts, config)
    module = _on_meta(lambda: CLIPVisionModel(CLIPVisionConfig(**sizes)))
    positions = state["embeddings.position_embedding.weight"].shape[0]
    module = _assign(module, state, facts.path, lambda _: dtype, device)
    # A buffer outside the state dict: the meta device left it without values.
    module.embeddings.register_buffer(
        "position_ids", torch.arange(positions, device=device)[None], persistent=False
    )
    return module


def load_speech_encoder(
    facts: CheckpointFacts,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    config: Mapping[str, Any] | None = None,
) -> Wav2Vec2Model:
    """wav2vec2. `config`, else config.json beside the file, tells what shapes don't."""
    state = module_state(facts, dtype)
    sizes = _override(configs.speech_encoder_config(state), facts, config)
    module = _on_meta(lambda: Wav2Vec2Model(Wav2Vec2Config(**sizes)))
    return _assign(module, state, facts.path, lambda _: dtype, device)


def load_vocal_separator(facts: CheckpointFacts, *, device: torch.device | str = "cpu") -> MelBandRoformer:
    """MelBand RoFormer of any width and depth, in fp32."""
    state = {name: tensor for name, tensor in read_state(facts).items() if not name.endswith(COMPUTED)}
    module = _on_meta(lambda: MelBandRoformer(configs.vocal_separator_config(state)))
    return _assign(module, state, facts.path, lambda _: torch.float32, device)


def _embedded_tokenizer(path: Path) -> bytes:
    embedded = read_file(path).get("spiece_model")
    if embedded is None:
        raise UserError(f"The tokenizer is missing: put spiece.model of umt5-xxl beside {path.name}")
    return embedded.numpy().tobytes()


def _transformer_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if keeps_fp32(name) else dtype


def _empty_transformer(
    state: State, found: Mapping[str, FoundWeight], path: Path
) -> tuple[WanTransformer, dict[str, tuple[int, ...]]]:
    """(a module on the meta device that the tensors fit, the shapes of its own)."""
    packed = {name: torch.empty(weight.shape, device="meta") for name, weight in found.items()}
    sizes, audio = configs.transformer_config(state | packed), configs.audio_config(state | packed)
    module = _on_meta(lambda: WanTransformer(**sizes, audio=audio))
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, weight in found.items():
        if name in wanted and weight.holds(wanted[name]):
            packed[name] = torch.empty(wanted[name], device="meta")
    _check_fit(module, state | packed, path)
    return module, wanted


def _fitting_audio(facts: CheckpointFacts, audio: CheckpointFacts) -> tuple[State, dict[str, FoundWeight]]:
    if not facts.has_image_branch:
        raise UserError(f"InfiniteTalk needs an image-to-video model, {facts.path.name} is text-to-video")
    if (facts.dim, facts.num_layers) != (audio.dim, audio.num_layers):
        raise UserError(
            f"{audio.path.name} belongs to a model of another size than {facts.path.name}",
            value=f"{audio.num_layers} blocks of {audio.dim}",
            allowed=f"{facts.num_layers} blocks of {facts.dim}",
        )
    return split_state(audio)


def _override(
    sizes: dict[str, Any], facts: CheckpointFacts, config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`sizes` with what `configs.TOLD` leaves to `config`, or to config.json beside the file if it describes
    this network. What shapes decide stays.
    """
    if config is None:
        beside = facts.files[0].parent / "config.json"
        try:
            config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        except ValueError as error:
            raise UserError(f"{beside} is not valid JSON") from error
        described = ("hidden_size", "num_hidden_layers")
        if not isinstance(config, dict) or any(config.get(name) != sizes[name] for name in described):
            return sizes
    told = configs.TOLD[facts.component] & config.keys()
    return sizes | {name: config[name] for name in told}


def _on_meta(build: Callable[[], M]) -> M:
    with torch.device("meta"), no_init_weights():  # also without values it would take a third of the time
        return build()


def _assign(
    module: M, state: State, path: Path, dtype_of: Callable[[str], torch.dtype], device: torch.device | str
) -> M:
    _check_fit(module, state, path)
    with closing(Carrier(device, sum(tensor.nbytes for tensor in state.values()))) as carrier:
        placed = _place_all(state, dtype_of, device, carrier)
    module.load_state_dict(placed, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _place_all(
    state: State, dtype_of: Callable[[str], torch.dtype], device: torch.device | str, carrier: Carrier
) -> State:
    """Empties `state` on the way; a tensor under two names is placed once, as UMT5's embedding of 2 GB."""
    names_of: dict[tuple[int, torch.dtype], list[str]] = {}
    for name, tensor in state.items():
        names_of.setdefault((id(tensor), dtype_of(name)), []).append(name)
    ready: State = {}
    bundles = ({"": [state.pop(name) for name in names][0]} for names in names_of.values())
    for ((_, dtype), names), tensors in zip(names_of.items(), carrier.bring(bundles, device), strict=True):
        ready |= dict.fromkeys(names, _place(tensors[""], dtype, device))
    return ready


def _place(tensor: Tensor, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _check_fit(module: nn.Module, state: State, path: Path) -> None:
    wanted = module.state_dict()
    missing, extra = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    odd = [name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape]
    for problem, names in (("lacks", missing), ("has unexpected", extra), ("has other shapes in", odd)):
        if names:
            raise UserError(
                f"{path.name} does not fit its own architecture: it {problem} {first_names(names)}"
            )
