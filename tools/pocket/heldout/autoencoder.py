"""How well the autoencoder alone gives clips back."""

import time

from torch import Tensor

from tools.pocket.dataset import KINDS
from tools.pocket.heldout.bench import Bench, keep, lend_vae
from tools.pocket.heldout.results import Figure, Result, ShownClip, mean, seconds_figure
from tools.pocket.training_run import psnr
from wanvideo.models.vae import decode, encode

LEAST_DB = 28.0
LONG, LARGE = 81, 256


def measure(bench: Bench) -> Result:
    """PSNR of native clips of all kinds, and of a few longer and larger ones."""
    per_kind = -(-bench.clips // len(KINDS))
    drawn = [(kind, bench.draw(kind, per_kind).video) for kind in KINDS]
    native: list[float] = []
    seconds: list[float] = []
    shown: list[ShownClip] = []
    for kind, videos in drawn:
        for index, video in enumerate(videos[: bench.clips - len(native)]):
            begun = time.perf_counter()
            decoded = through(bench, video)
            seconds.append(time.perf_counter() - begun)
            native.append(psnr(decoded[None], video[None]))
            if index == 0:
                shown += _rows(bench, f"{kind}_{index}", (video, decoded), native[-1])
    few = bench.share(1 / 8)
    longer = [_loss(bench, video) for video in bench.draw("talk", few, frames=LONG).video]
    larger = [_loss(bench, video) for video in bench.draw("motion", few, size=LARGE).video]
    names = {"33 frames": native, "81 frames": longer, "256 pixels": larger}
    figures = [
        Figure(what=f"PSNR, {name}", value=mean(values), at_least=LEAST_DB, unit="dB")
        for name, values in names.items()
    ]
    worst = Figure(what="PSNR, worst clip of 33 frames", value=min(native), unit="dB")
    return Result(figures=(*figures, worst, seconds_figure(seconds)), shown=tuple(shown))


def through(bench: Bench, video: Tensor) -> Tensor:
    """(3, frames, height, width) in [-1, 1] encoded and decoded by the application's functions."""
    with lend_vae(bench) as vae:
        return decode(vae, encode(vae, video)).cpu()


def _loss(bench: Bench, video: Tensor) -> float:
    return psnr(through(bench, video)[None], video[None])


def _rows(bench: Bench, name: str, pair: tuple[Tensor, Tensor], loss: float) -> list[ShownClip]:
    drawn, decoded = (
        keep(bench, f"autoencoder/{name}_{what}.mp4", video)
        for what, video in zip(("drawn", "decoded"), pair, strict=True)
    )
    return [
        ShownClip(file=drawn, caption=f"{name.partition('_')[0]}: drawn"),
        ShownClip(file=decoded, caption="encoded and decoded", note=f"{loss:.1f} dB"),
    ]
