"""The audio pipeline: loudness, two speakers in sequence, wav2vec2, windows and the mirrored tail."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import Wav2Vec2Model

from tools.golden_files.golden import Golden, Row, compare
from wanvideo.checkpoint.load import load_speech_encoder
from wanvideo.media.sound import SPEECH_RATE, arrange_speakers, normalise_loudness
from wanvideo.models.speech_encoder import encode_speech
from wanvideo.window_tensors import mirror_tail, speech_windows
from wanvideo.windows import Window

SOUND_LIMIT = 1e-5


def check_audio_pipeline(golden: Golden) -> Iterator[Row]:
    """Every stage on its stored input; a part of the file may hold the speech encoder alone."""
    if "wave1" in golden.tensors:
        yield from _check_loudness(golden)
        yield from _check_interpolation(golden)
        yield from _check_windows(golden)
    yield from _check_speech_encoder(golden)


def _check_loudness(golden: Golden) -> Iterator[Row]:
    tracks = []
    for name in ("wave1", "wave2"):
        tracks.append(normalise_loudness(golden[name].numpy(), SPEECH_RATE))
        yield compare(f"{name}_norm", torch.from_numpy(tracks[-1]), golden[f"{name}_norm"], SOUND_LIMIT)
    laid, mixed = arrange_speakers(tracks, "sequence")
    for name, samples in zip(("s1", "s2", "sum"), (*laid, mixed), strict=True):
        yield compare(
            f"multi_add.{name}", torch.from_numpy(samples), golden[f"multi_add.{name}"], SOUND_LIMIT
        )


def _check_interpolation(golden: Golden) -> Iterator[Row]:
    source = golden["interp.in"].transpose(1, 2)
    for name in sorted(key for key in golden.tensors if key.startswith("interp.out")):
        frames = int(name.removeprefix("interp.out"))
        ours = torch.nn.functional.interpolate(source, frames, mode="linear", align_corners=True).transpose(
            1, 2
        )
        yield compare(name, ours, golden[name], SOUND_LIMIT)


def _check_speech_encoder(golden: Golden) -> Iterator[Row]:
    before = _before_normalising(golden["w2v.input_values"][0])
    samples = golden.tensors.get("wave1_norm", before).float()
    with golden.stored_weights("w2v.w.") as facts:
        encoder = load_speech_encoder(facts, config=golden.info["wav2vec2_config"])
        with _recorded(encoder) as recorded:
            embedding = encode_speech(encoder, samples, len(golden["w2v.embedding"]))
    for name, tensor in (recorded | {"w2v.embedding": embedding}).items():
        if name in golden.tensors:
            yield compare(name, tensor, golden[name], SOUND_LIMIT)


def _before_normalising(values: Tensor) -> Tensor:
    """Samples that x / sqrt(var(x) + 1e-7) turns into `values`: their level follows from 1 - var(values)."""
    return values.double() * (1e-7 / (1 - values.double().var(unbiased=False))).sqrt()


@contextmanager
def _recorded(encoder: Wav2Vec2Model) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def features(_module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.update({"w2v.input_values": inputs[0], "w2v.extract_features": output.transpose(1, 2)})

    def projection(_module: object, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        found.update({"w2v.interpolated": inputs[0], "w2v.projected": output[0]})

    handles = [
        encoder.feature_extractor.register_forward_hook(features),
        encoder.feature_projection.register_forward_hook(projection),
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _check_windows(golden: Golden) -> Iterator[Row]:
    whole = golden["window.full"]
    for name in sorted(key for key in golden.tensors if key.startswith("window.") and key != "window.full"):
        start, end = map(int, name.removeprefix("window.").split("_"))
        window = Window(index=0, start=start, frames=end - start, skip=0, keep=end - start, is_tail=False)
        yield compare(name, speech_windows([whole], window), golden[name], SOUND_LIMIT)
    for name in sorted(key for key in golden.tensors if key.startswith("tailpad.end")):
        yield compare(
            name, mirror_tail(whole, int(name.removeprefix("tailpad.end"))), golden[name], SOUND_LIMIT
        )
