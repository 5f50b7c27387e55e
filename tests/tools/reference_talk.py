"""InfiniteTalk for one or two speakers once more, from its description and on official weight names.

Plain and slow, and nothing is shared with the engine but the VAE: it makes golden files of the kinds that the
project does not carry.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import color
from torch import Tensor

Weights = dict[str, Tensor]
HEAD = 128


def forward(w: Weights, x: Tensor, t: Tensor, text: Tensor, clip: Tensor, y: Tensor, audio: Tensor,
            masks: Tensor, seen: Weights | None = None) -> Tensor:  # fmt: skip
    """x (16, T, h, w), y (20, T, h, w), audio (persons, F, 5, layers, channels), masks (3, h, w) -> v."""
    seen = {} if seen is None else seen
    patches = F.conv3d(
        torch.cat([x, y])[None], w["patch_embedding.weight"], w["patch_embedding.bias"], stride=(1, 2, 2)
    )
    grid = patches.shape[2:]
    h = patches[0].flatten(1).T
    dim = h.shape[1]
    frequencies = 10000.0 ** (-torch.arange(128).double() / 128)
    angles = t.double() * frequencies
    e = F.silu(linear(w, "time_embedding.0", torch.cat([angles.cos(), angles.sin()]).float()))
    e = linear(w, "time_embedding.2", e)
    e0 = linear(w, "time_projection.1", F.silu(e)).view(6, dim)
    rows = F.pad(text, (0, 0, 0, 512 - len(text)))
    context = linear(w, "text_embedding.2", F.gelu(linear(w, "text_embedding.0", rows), approximate="tanh"))
    image = linear(w, "img_emb.proj.1", norm(clip[0], w, "img_emb.proj.0", 1e-5))
    image = norm(linear(w, "img_emb.proj.3", F.gelu(image)), w, "img_emb.proj.4", 1e-5)
    speech = audio_tokens(w, audio)
    seen["audio_proj.out"] = speech
    class_masks = (F.interpolate(masks[None], grid[1:], mode="nearest")[0] > 0).float().flatten(1)
    turns = video_turns(grid)
    for i in range(sum(name.endswith("norm3.weight") for name in w)):
        h = block(w, f"blocks.{i}.", h, (context, image, e0, speech, class_masks, turns), seen)
        seen[f"block{i}"] = h[None]
    shift, scale = w["head.modulation"][0] + e
    v = linear(w, "head.head", norm(h) * (1 + scale) + shift)
    v = v.view(*grid, 1, 2, 2, 16)
    return torch.einsum("fhwpqrc->cfphqwr", v).reshape(x.shape)


def block(w: Weights, b: str, h: Tensor, shared: tuple[Tensor, ...], seen: Weights) -> Tensor:
    context, image, e0, speech, class_masks, turns = shared
    shift1, scale1, gate1, shift2, scale2, gate2 = (w[b + "modulation"] + e0)[0]
    a = norm(h) * (1 + scale1) + shift1
    q, k, v = qkv(w, b + "self_attn.", a, a)
    own_q, own_k = turn(q, turns), turn(k, turns)
    h = h + linear(w, b + "self_attn.o", attend(own_q, own_k, v)) * gate1
    c = norm(h, w, b + "norm3")
    q, k, v = qkv(w, b + "cross_attn.", c, context)
    k_image = heads(rms(linear(w, b + "cross_attn.k_img", image), w[b + "cross_attn.norm_k_img.weight"]))
    v_image = heads(linear(w, b + "cross_attn.v_img", image))
    h = h + linear(w, b + "cross_attn.o", attend(q, k, v) + attend(q, k_image, v_image))
    h = h + hear(w, b, norm(h, w, b + "norm_x"), (own_q, own_k, speech, class_masks), seen)
    f = norm(h) * (1 + scale2) + shift2
    f = linear(w, b + "ffn.2", F.gelu(linear(w, b + "ffn.0", f), approximate="tanh"))
    return h + f * gate2


def hear(w: Weights, b: str, h: Tensor, shared: tuple[Tensor, ...], seen: Weights) -> Tensor:
    """Audio cross-attention; with two persons a rotary embedding over one line binds regions to voices."""
    q, k, speech, masks = shared
    frames, per_frame = speech.shape[1], len(h) // speech.shape[1]
    tokens = torch.cat(list(speech), dim=1)  # (T, persons * 32, channels)
    aq = heads(linear(w, b + "audio_cross_attn.q_linear", h))
    both = linear(w, b + "audio_cross_attn.kv_linear", tokens)
    positions = None
    if len(speech) == 2:
        positions = query_positions(q, k, masks, b, seen)
    out = []
    for frame in range(frames):
        part = slice(frame * per_frame, (frame + 1) * per_frame)
        ak, av = (heads(half) for half in both[frame].chunk(2, dim=-1))
        query = aq[:, part]
        if positions is not None:
            theta = 10000.0 ** (-torch.arange(0, HEAD, 2).double() / HEAD)
            line = torch.tensor([2.0] * (len(tokens[0]) // 2) + [22.0] * (len(tokens[0]) // 2)).double()
            seen[b.replace("blocks.", "block") + "rope1d_pos_k"] = line.float()
            query = turn(
                query, torch.polar(torch.ones(1).double(), positions[part].double()[:, None] * theta)
            )
            ak = turn(ak, torch.polar(torch.ones(1).double(), line[:, None] * theta))
        out.append(attend(query, ak, av))
    return linear(w, b + "audio_cross_attn.proj", torch.cat(out))


def query_positions(q: Tensor, k: Tensor, masks: Tensor, b: str, seen: Weights) -> Tensor:
    shares = (q @ k[:, : masks.shape[1]].transpose(1, 2) / math.sqrt(HEAD)).softmax(-1)  # (heads, S, N)
    ref = torch.stack([(shares @ (mask / mask.sum())).mean(0) for mask in masks])
    seen[b.replace("blocks.", "block") + "x_ref_attn_map"] = ref
    lines = []
    for row, start in ((ref[0], 0.0), (ref[1], 20.0)):
        lines.append((row - row.min()) / (row.max() - row.min() + 1e-8) * 4 + start)
    lines.append(torch.full_like(lines[0], 12.0))
    positions = torch.stack(lines).gather(0, ref.argmax(0)[None])[0]
    seen[b.replace("blocks.", "block") + "rope1d_pos_q"] = positions
    return positions


def audio_tokens(w: Weights, audio: Tensor) -> Tensor:
    """(persons, F, 5, layers, channels) -> (persons, T, tokens, channels)."""
    first = F.relu(linear(w, "audio_proj.proj1", audio[:, 0].flatten(1)))[:, None]
    groups = []
    for start in range(1, audio.shape[1], 4):
        f0, f1, f2, f3 = audio[:, start : start + 4].unbind(1)
        eight = torch.cat([f0[:, :3], f1[:, 2:3], f2[:, 2:3], f3[:, 2:]], dim=1)
        groups.append(F.relu(linear(w, "audio_proj.proj1_vf", eight.flatten(1))))
    hidden = torch.cat([first, torch.stack(groups, dim=1)], dim=1)
    hidden = F.relu(linear(w, "audio_proj.proj2", hidden))
    channels = len(w["audio_proj.norm.weight"])
    tokens = linear(w, "audio_proj.proj3", hidden).unflatten(-1, (-1, channels))
    return norm(tokens, w, "audio_proj.norm", 1e-5)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(x: Tensor, w: Weights | None = None, name: str = "", eps: float = 1e-6) -> Tensor:
    weight, bias = (w[f"{name}.weight"], w[f"{name}.bias"]) if w is not None else (None, None)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD)).transpose(0, 1)  # (heads, tokens, HEAD)


def qkv(w: Weights, name: str, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q = rms(linear(w, name + "q", x), w[name + "norm_q.weight"])
    k = rms(linear(w, name + "k", source), w[name + "norm_k.weight"])
    return heads(q), heads(k), heads(linear(w, name + "v", source))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    shares = (q @ k.transpose(1, 2) / math.sqrt(HEAD)).softmax(-1)
    return (shares @ v).transpose(0, 1).flatten(1)


def video_turns(grid: Sequence[int]) -> Tensor:
    parts = []
    for axis, (size, width) in enumerate(zip(grid, (44, 42, 42), strict=True)):
        angles = torch.arange(size).double()[:, None] * 10000.0 ** (
            -torch.arange(0, width, 2).double() / width
        )
        shape = [1, 1, 1, -1]
        shape[axis] = size
        parts.append(torch.polar(torch.ones_like(angles), angles).view(shape).expand(*grid, -1))
    return torch.cat(parts, dim=-1).flatten(0, 2)


def turn(x: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).float()


def loop(info: dict[str, Any], given: Weights, w: Weights, encode: Callable[[Tensor], Tensor],
         decode: Callable[[Tensor], Tensor]) -> Weights:  # fmt: skip
    """A whole run by the description: streaming with the mirrored tail, guidance, APG, colour correction."""
    out: Weights = {}
    generator = torch.Generator().manual_seed(info["seed"])
    embeddings = [given[f"audio{p + 1}"][: info["audio_len"]] for p in range(info["persons"])]
    original = len(embeddings[-1])
    masks = person_masks(info, given["frames_u8"])
    start, last, number, padded = 0, False, 0, False
    pieces: list[Tensor] = []
    while True:
        frame = 0 if info["source"].startswith("image") else min(start, len(given["frames_u8"]) - 1)
        picture = fit(given["frames_u8"][frame])
        motion = picture if number == 0 else pieces[-1][:, -info["motion_frame"] :]
        index = (torch.arange(start, start + info["frame_num"])[:, None] + torch.arange(-2, 3)).clamp(min=0)
        audio = torch.stack([e[index.clamp(max=len(e) - 1)] for e in embeddings])
        frames, kept = window(info, given, w, (encode, decode), (picture, motion, audio, masks), generator)
        if info["color_correction"]:
            frames = recolor(frames, fit(given["frames_u8"][0]), info["color_correction"])
        pieces.append(frames)
        out |= {f"w{number}.{name}": tensor for name, tensor in kept.items()}
        number += 1
        if last:
            break
        start += info["frame_num"] - info["motion_frame"]
        end = start + info["frame_num"]
        if end >= min(info["max_frames_num"], len(embeddings[0])):
            last = True
            for p, e in enumerate(embeddings):
                if end >= len(e):
                    embeddings[p], padded = torch.cat([e, e[-(end - len(e) + 3) :].flip(0)]), True
        if info["max_frames_num"] <= info["frame_num"]:
            break
    video = torch.cat([pieces[0], *(piece[:, info["motion_frame"] :] for piece in pieces[1:])], dim=1)
    video = video[:, : info["max_frames_num"]]
    info["windows"] = number
    out["video"] = video[:, :original] if padded and info["max_frames_num"] > info["frame_num"] else video
    return out


def window(info: dict[str, Any], given: Weights, w: Weights, vae: tuple[Callable[[Tensor], Tensor], ...],
           seen: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, Weights]:  # fmt: skip
    picture, motion, audio, masks = seen
    clip = torch.randn(1, 257, len(w["img_emb.proj.0.weight"]), generator=generator)
    encoded = vae[0](torch.cat([picture, torch.zeros(3, info["frame_num"] - 1, *picture.shape[2:])], dim=1))
    ones = torch.zeros(4, *encoded.shape[1:])
    ones[:, 0] = 1
    y, held = torch.cat([ones, encoded]), vae[0](motion)
    latent = torch.randn(encoded.shape, generator=generator)
    kept = {"clip_fea": clip, "vae_enc_y": encoded, "y": y[None], "noise": latent, "ref_target_masks": masks}
    kept |= {"latent_motion_frames": held, "motion_pixels": motion, "audio": audio[..., :1, :4]}
    raw = torch.linspace(1000, 1, info["steps"]) / 1000
    times = torch.cat([1000 * info["shift"] * raw / (1 + (info["shift"] - 1) * raw), torch.zeros(1)])
    text, speech = (given["context"], given["context_null"]), (audio, torch.zeros_like(audio)[-1:])
    passes = {"cond": (0, 0), "drop_audio": (0, 1)}
    if info["text_scale"] != 1:
        passes = {"cond": (0, 0), "drop_text": (1, 0), "uncond": (1, 1)}
    running: dict[int, Tensor] = {}
    for i in range(info["steps"]):
        latent = torch.cat([held, latent[:, held.shape[1] :]], dim=1)
        outs = {
            f"s{i}.out_{name}": forward(w, latent, times[i], text[a], clip, y, speech[b], masks)
            for name, (a, b) in passes.items()
        }
        kept |= outs | {f"s{i}.latent_in": latent, f"s{i}.t": times[i : i + 1]}
        latent = latent - guide(info, list(outs.values()), running) * (times[i] - times[i + 1]) / 1000
    latent = torch.cat([held, latent[:, held.shape[1] :]], dim=1)
    frames = vae[1](latent)
    return frames, kept | {"final_latent": latent, "decoded": frames}


def guide(info: dict[str, Any], v: list[Tensor], running: dict[int, Tensor]) -> Tensor:
    tau, alpha = info["text_scale"], info["audio_scale"]
    if not info["apg"]:
        return (
            v[1] + alpha * (v[0] - v[1])
            if len(v) == 2
            else v[2] + tau * (v[0] - v[1]) + alpha * (v[1] - v[2])
        )
    scales, guided = ([alpha] if len(v) == 2 else [tau, alpha]), v[0]
    unit = (v[0].double() / v[0].double().norm()).flatten()
    for i, scale in enumerate(scales):
        d = v[i] - v[i + 1]
        d = running[i] = d - 0.75 * running[i] if i in running else d
        d = (d * min(1.0, info["apg_norm_threshold"] / float(d.norm()))).double().flatten()
        guided = guided + (scale - 1) * (d - (d @ unit) * unit).float().view(guided.shape)
    return guided


def person_masks(info: dict[str, Any], frames: Tensor) -> Tensor:
    """(3, h, w) at latent size; the reference's boxes have x along the rows."""
    height, width = frames.shape[1:3]
    masks = torch.zeros(3, height, width)
    if info["persons"] == 1:
        masks[:] = 1
    elif info["bbox"]:
        for mask, (x0, y0, x1, y1) in zip(masks, info["bbox"].values(), strict=False):
            mask[int(x0) : int(x1), int(y0) : int(y1)] = 1
    else:
        half = width // 2
        for left, mask in zip((0, half), masks, strict=False):
            columns = slice(left + int(half * 0.05), left + int(half * 0.95))
            mask[int(height * 0.05) : int(height * 0.95), columns] = 1
    if info["persons"] == 2:
        masks[2] = 1 - masks[:2].amax(0)
    full = F.interpolate(masks[None], (68, 96), mode="nearest")[0][:, 2:66, 0:96]
    return (F.interpolate(full[None], (8, 12), mode="nearest")[0] > 0).float()


def fit(frame: Tensor) -> Tensor:
    """(70, 100, 3) bytes -> (3, 1, 64, 96): scale 0.96, then the middle."""
    scaled = np.array(Image.fromarray(frame.numpy()).resize((96, 68), Image.Resampling.BILINEAR))
    return torch.from_numpy(scaled[2:66, 0:96]).permute(2, 0, 1)[:, None].float() / 255 * 2 - 1


def recolor(frames: Tensor, reference: Tensor, strength: float) -> Tensor:
    target = color.rgb2lab((reference[:, 0].permute(1, 2, 0).numpy() + 1) / 2)
    result = []
    for frame in frames.unbind(1):
        rgb = (frame.permute(1, 2, 0).double().numpy() + 1) / 2
        lab = color.rgb2lab(rgb)
        lab = (lab - lab.mean((0, 1))) * (target.std((0, 1)) / lab.std((0, 1))) + target.mean((0, 1))
        result.append((1 - strength) * rgb + strength * np.clip(color.lab2rgb(lab), 0, 1))
    return torch.from_numpy(np.stack(result) * 2 - 1).permute(3, 0, 1, 2).float()
