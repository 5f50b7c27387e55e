"""Forward passes: transformer, audio projection, VAE, text and picture encoder; names in weight files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tools.golden_files.golden import Golden, Row, compare
from wanvideo.checkpoint.keys import ignored_reason, to_module, to_official
from wanvideo.checkpoint.load import load_image_encoder, load_text_encoder, load_transformer, load_vae
from wanvideo.models.audio_projection import AudioConfig, AudioProjection
from wanvideo.models.image_encoder import encode_picture, preprocess
from wanvideo.models.passes import AudioContext, Context
from wanvideo.models.rotary import video_rotary
from wanvideo.models.speaker_map import SpeakerRegions, key_positions
from wanvideo.models.text_encoder import PromptTokenizer, encode_prompt
from wanvideo.models.transformer import TEXT_TOKENS, Block, WanTransformer
from wanvideo.models.vae import decode, encode
from wanvideo.window_tensors import token_masks

FORWARD_LIMIT = 5e-6  # relative
POSITION_LIMIT = 1e-4  # relative; a position is a share of attention over the small range of all shares
PROJECTION_LIMIT = 1e-5
VAE_LIMIT = 2e-5
ENCODER_LIMIT = 1e-4
TEXT_ROWS_KEPT = 32

Recorded = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class RecordedRegions(SpeakerRegions):
    """Speaker regions that keep what each block read off them, in the order of the blocks."""

    maps: list[Tensor] = field(default_factory=list)
    positions: list[Tensor] = field(default_factory=list)

    def attention_map(self, query: Tensor, key: Tensor) -> Tensor:
        self.maps.append(SpeakerRegions.attention_map(self, query, key))
        return self.maps[-1]

    def token_positions(self, query: Tensor, key: Tensor) -> Tensor:
        self.positions.append(SpeakerRegions.token_positions(self, query, key))
        return self.positions[-1]


def check_weights(golden: Golden) -> Iterator[Row]:
    """Every name is known or ignored for a reason, and the way to our modules and back changes no bit."""
    component = golden.facts().component
    wanted = {name: tensor for name, tensor in golden.tensors.items() if not ignored_reason(component, name)}
    back = to_official(component, to_module(component, wanted))
    alike = sum(name in back and torch.equal(back[name], tensor) for name, tensor in wanted.items())
    lost = len(wanted.keys() | back.keys()) - alike
    yield Row(tensor=f"names ({component}) there and back", error=float(lost))


def check_forward(golden: Golden) -> Iterator[Row]:
    """Outputs at every timestep and all intermediates that our transformer has."""
    transformer = load_for(golden)
    regions = None
    if "in.audio" in golden.tensors and len(golden["in.audio"]) > 1:
        regions = RecordedRegions(token_masks(golden["in.ref_target_masks"]))
    for name in sorted(key for key in golden.tensors if key.startswith("out")):
        index = name.removeprefix("out").split("_")[0]
        audio, used_regions = _audio_of(golden, name, regions)
        with record(transformer) as recorded:
            v = _forward(transformer, golden, golden[f"in.t{index}"], audio, used_regions)
        yield compare(name, v, golden[name], FORWARD_LIMIT, relative=True)
        if name == f"out{index}":
            yield from _check_intermediates(golden, f"inter{index}.", recorded, used_regions)


@torch.no_grad()
def check_block(golden: Golden) -> Iterator[Row]:
    """One block alone, with the speaker map that a second speaker would be placed by."""
    stored = {name: tensor for name, tensor in golden.tensors.items() if name.startswith("w.blocks.")}
    state = {re.sub(r"^w\.blocks\.\d+", "blocks.0", name): tensor for name, tensor in stored.items()}
    state = {
        name.removeprefix("blocks.0."): tensor for name, tensor in to_module("transformer", state).items()
    }
    x, rows = golden["in.x"], golden["in.text_rows"]
    audio = AudioConfig(output_dim=golden["in.audio"].shape[-1])
    ffn_dim = len(state["ffn.net.0.proj.weight"])
    block = Block(dim=x.shape[2], ffn_dim=ffn_dim, heads=x.shape[2] // 128, eps=1e-6, image=True, audio=audio)
    block.load_state_dict(state)
    padding = rows[:, -1:].expand(-1, TEXT_TOKENS - rows.shape[1], -1)  # padded rows are all alike
    context = Context(torch.cat([rows, padding], dim=1), golden["in.image"])
    regions = RecordedRegions(token_masks(golden["in.masks"]))
    exact, heard = block.attention, []
    block.attention = lambda q, k, v: (regions.attention_map(q, k), exact(q, k, v))[1]
    block.audio_cross_attn.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
    height, width = (side // 2 for side in golden["in.masks"].shape[1:])
    rotary = video_rotary((x.shape[1] // (height * width), height, width), 128, x.device, 0)
    out = block(x, context, golden["in.modulation"], rotary, AudioContext(golden["in.audio"]))
    for name, ours in (("block", out), ("map", regions.maps[0][0]), ("audio_cross_attn", heard[0])):
        yield compare(f"out.{name}", ours, golden[f"out.{name}"], FORWARD_LIMIT, relative=True)


def check_audio_projection(golden: Golden) -> Iterator[Row]:
    """The audio projection alone."""
    sizes = golden.info
    weights = {
        name.removeprefix("w."): tensor for name, tensor in golden.tensors.items() if name.startswith("w.")
    }
    windows = golden["in.audio_windows"]
    config = AudioConfig(
        layers=windows.shape[-2],
        channels=windows.shape[-1],
        intermediate_dim=sizes["intermediate_dim"],
        context_tokens=sizes["context_tokens"],
        output_dim=sizes["output_dim"],
    )
    projection = AudioProjection(config)
    projection.load_state_dict(weights)
    with torch.no_grad():
        yield compare("out", projection(windows), golden["out"], PROJECTION_LIMIT)


def check_vae(golden: Golden) -> Iterator[Row]:
    """Encoding and decoding at every length."""
    vae = load_vae(golden.sibling(golden.path.stem.replace("_io", "_weights")).facts())
    for statistic in ("latents_mean", "latents_std"):
        yield compare(statistic, torch.tensor(vae.config[statistic]), golden[statistic], 1e-6)
    for name in sorted(key for key in golden.tensors if key.startswith("in.video")):
        frames = name.removeprefix("in.video")
        latents = golden[f"out.latent{frames}"]
        yield compare(f"out.latent{frames}", encode(vae, golden[name]), latents, VAE_LIMIT)
        yield compare(f"out.decoded{frames}", decode(vae, latents), golden[f"out.decoded{frames}"], VAE_LIMIT)


def check_text_encoder(golden: Golden) -> Iterator[Row]:
    """The valid rows of every prompt."""
    with golden.stored_weights("w.") as facts:
        encoder = load_text_encoder(facts, dtype=torch.float32)
        for index, (ids, mask) in enumerate(zip(golden["in.ids"], golden["in.mask"], strict=True)):
            rows = int(mask.sum())
            ours = encode_prompt(encoder, _Tokens(ids[:rows].tolist()), "")
            yield compare(f"out.hidden[{index}]", ours, golden["out.hidden"][index, :rows], ENCODER_LIMIT)


def check_image_encoder(golden: Golden) -> Iterator[Row]:
    """Pixels as CLIP sees them, and the tokens."""
    config = {"num_attention_heads": golden.info["cfg"]["num_heads"]}
    with golden.stored_weights("w.") as facts:
        encoder = load_image_encoder(facts, config=config)
        for index, picture in enumerate(golden["in.video_minus1_1"]):
            pixels = preprocess(picture, golden.info["cfg"]["image_size"])
            yield compare("inter.pixels", pixels, golden["inter.pixels"][index : index + 1], ENCODER_LIMIT)
            yield compare(
                "out.tokens", encode_picture(encoder, picture), golden["out.tokens"][index], ENCODER_LIMIT
            )


def load_for(golden: Golden) -> WanTransformer:
    """The transformer whose outputs are in the file, in fp32, joined from its weight files."""
    stems = golden.info.get("weights") or [golden.path.stem.replace("_io", "_weights")]
    facts = {part.component: part for part in (golden.sibling(stem).facts() for stem in stems)}
    return load_transformer(facts["transformer"], facts.get("infinitetalk"), dtype=torch.float32)


@contextmanager
def record(transformer: WanTransformer) -> Iterator[Recorded]:
    """What the modules give, under the names of the golden files (without `inter{i}.`)."""
    places = {
        "patch_embedding": "patch_embedding",
        "time_projection": "condition_embedder.time_proj",
        "text_embedding_head32": "condition_embedder.text_embedder",
    }
    parts = {"": "", ".self_attn": ".attn1.to_out.0", ".cross_attn": ".attn2.to_out.0"}
    if transformer.audio_proj is not None:
        places["audio_proj.out"] = "audio_proj"
        parts |= {".norm_x": ".norm_x", ".audio_cross_attn": ".audio_cross_attn"}
    for index in range(len(transformer.blocks)):
        places |= {f"block{index}{part}": f"blocks.{index}{place}" for part, place in parts.items()}
    modules = {name: transformer.get_submodule(place) for name, place in places.items()}
    recorded: Recorded = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: recorded.update({name: output})
        )
        for name, module in modules.items()
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


class _Tokens(PromptTokenizer):
    """A tokenizer that knows one prompt, by its ids."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def encode(self, prompt: str) -> list[int]:  # noqa: ARG002
        return self._ids


def _audio_of(
    golden: Golden, name: str, regions: RecordedRegions | None
) -> tuple[Tensor | None, RecordedRegions | None]:
    """Speech and regions of an output: as stored, the speakers swapped, or null (then of one speaker)."""
    audio = golden.tensors.get("in.audio")
    if audio is None:
        return None, None
    if name.endswith("_null_audio"):
        return torch.zeros_like(audio[-1:]), None
    if regions is not None:
        regions.maps.clear()
        regions.positions.clear()
    return (audio.flip(0) if name.endswith("_swapped_audio") else audio), regions


@torch.no_grad()
def _forward(
    transformer: WanTransformer,
    golden: Golden,
    timestep: Tensor,
    audio: Tensor | None,
    regions: RecordedRegions | None,
) -> Tensor:
    latents = golden["in.x"][None]
    if "in.y" in golden.tensors:
        image_latents = golden["in.y"].reshape(1, -1, *latents.shape[2:])
        latents = torch.cat([latents, image_latents], dim=1)
    context: Context = transformer.embed_context(
        golden["in.context"][None], golden.tensors.get("in.clip_fea")
    )
    speech = None if audio is None else AudioContext(transformer.embed_audio(audio[None]), regions)
    v: Tensor = transformer(latents, timestep, context, audio=speech)
    return v[0]


def _check_intermediates(
    golden: Golden, prefix: str, recorded: Recorded, regions: RecordedRegions | None
) -> Iterator[Row]:
    if regions is not None:
        for index, (attention_map, positions) in enumerate(zip(regions.maps, regions.positions, strict=True)):
            recorded |= {
                f"block{index}.x_ref_attn_map": attention_map[0],
                f"block{index}.rope1d_pos_q": positions,
            }
            speakers = len(golden["in.audio"])
            tokens = recorded["audio_proj.out"].shape[-2]
            recorded[f"block{index}.rope1d_pos_k"] = key_positions(tokens, speakers, positions.device)
    for name in sorted(key for key in golden.tensors if key.startswith(prefix)):
        theirs = golden[name]
        ours = recorded.get(_our_name(name.removeprefix(prefix)))
        if ours is None:
            yield Row(tensor=name, skipped="the engine does not compute it here")
        elif "rope1d" in name:
            yield compare(name, *_positions_alike(ours, theirs), POSITION_LIMIT, relative=True)
        elif "text_embedding" in name:
            yield compare(name, ours[:, :TEXT_ROWS_KEPT], theirs, FORWARD_LIMIT, relative=True)
        else:
            yield compare(name, ours, theirs, FORWARD_LIMIT, relative=True)


def _our_name(name: str) -> str:
    """`block0.audio_cross_attn.rope1d_pos_q` and `block0.rope1d_pos_q` are one thing."""
    block, _, leaf = name.partition(".")
    return f"{block}.{leaf.rpartition('.')[2]}" if "rope1d" in name else name


def _positions_alike(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Both flat; positions of keys are the same in every frame, and stored once or once per frame."""
    flat = ours.flatten()
    return flat.repeat(max(1, theirs.numel() // flat.numel())), theirs.flatten()
