"""Blocks whose forward pass is compiled by torch.compile, for as long as their model is lent for that; of the
VAE, what it does with rows.

It is how a lent model is dressed: the weights stay what they are, and `forward` of each block is its own
again afterwards. All blocks share one code object, so one compilation serves all of them, in later loans too,
and the number of tokens is a variable of it, so that another size needs no other. Hooks of block swap stand
around the block, outside the compiled code, and re-point parameters that stay the same objects.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from wanvideo.cache_folder import cache_folder
from wanvideo.errors import UserError
from wanvideo.models.passes import AudioContext, Context
from wanvideo.models.rotary import Rotary
from wanvideo.models.vae_blocks import OnRows, RowWork

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# Of one function. Each attention kernel, LoRA set, size of chunks and format of weights is one; beyond
# PyTorch's own limit of 8 it would go on uncompiled, or stop.
MOST_VARIANTS, MOST_VARIANTS_IN_ALL = 64, 1024
Forward: TypeAlias = Callable[[Tensor, Context, Tensor, Rotary, AudioContext | None], Tensor]
Say: TypeAlias = Callable[[str], None]


@contextmanager
def compiled_blocks(
    blocks: nn.ModuleList, say: Say, *, backend: Any = "inductor", falls_back: bool = True
) -> Iterator[None]:
    """While this is open, `forward` of each of `blocks` is compiled code. It is made at the first call, which
    `say` is told, as it takes a while.

    Where a whole block can't be compiled, which a trial should have shown before, all of them go on as they
    are if that `falls_back`, and `say` is told. Else, and for a block that works in chunks and may already
    have written over its input, a call raises UserError.
    """
    with ExitStack() as dressed:
        dressed.enter_context(_compiler_settings())
        dress = _Dress(say, falls_back)
        for block in blocks:
            dressed.callback(vars(block).pop, "forward", None)
            block.forward = dress.around(block, backend)
        yield


@contextmanager
def compiled_rows(vae: nn.Module, say: Say, *, backend: Any = "inductor") -> Iterator[None]:
    """While this is open, each function of rows in `vae` is one compiled kernel for each number of channels,
    whatever the number of rows. A VAE that has none is left as it is.

    Where they can't be compiled they go on as they are, and `say` is told, as it is of the first call.
    """
    with ExitStack() as dressed:
        # Else the second number of channels would make channels a variable, and its code slower.
        dressed.enter_context(_compiler_settings(automatic_dynamic_shapes=False))
        dress, own = _Dress(say, falls_back=True, whose="the VAE's rows"), RowWork()
        functions = {item.name: getattr(own, item.name) for item in fields(RowWork)}
        work = RowWork(**{name: dress.around_rows(own, backend) for name, own in functions.items()})
        for module in vae.modules():
            if isinstance(module, OnRows):
                dressed.callback(vars(module).pop, "row_work", None)
                module.row_work = work
        yield


@contextmanager
def compilations_timed(spent: Callable[[float], None]) -> Iterator[None]:
    """While this is open, `spent` is given the seconds of each compilation of this process, at its end."""
    from torch._dynamo.callback import callback_handler

    begun = 0.0

    def begin(*_: object) -> None:
        nonlocal begun
        begun = time.perf_counter()

    def end(*_: object) -> None:
        spent(time.perf_counter() - begun)

    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(begin)
        callback_handler.remove_end_callback(end)


@contextmanager
def _compiler_settings(**more: Any) -> Iterator[None]:
    """How all is compiled, with `more` settings of dynamo's."""
    import torch._dynamo

    os.environ.setdefault(FOLDER_VARIABLE, str(cache_folder("compiled")))
    limits = {"recompile_limit": MOST_VARIANTS, "accumulated_recompile_limit": MOST_VARIANTS_IN_ALL}
    with torch._dynamo.config.patch({**limits, **more}):
        yield


class _Dress:
    """What the blocks of one loan share: whether they have run, and whether they can't be compiled."""

    def __init__(self, say: Say, falls_back: bool, whose: str = "the blocks") -> None:
        self._say, self._falls_back, self._whose = say, falls_back, whose
        self._has_run, self._fails = False, False

    def around(self, block: nn.Module, backend: Any) -> Forward:
        """`block.forward`, compiled. Without chunks it is one graph; with chunks each function of rows is
        one, which serves every chunk: a graph of all chunks would grow with the video.
        """
        own: Forward = block.forward
        whole = torch.compile(own, backend=backend, fullgraph=True)
        in_parts = torch.compile(own, backend=backend, dynamic=True)

        def forward(
            x: Tensor, context: Context, modulation: Tensor, rotary: Rotary, audio: AudioContext | None
        ) -> Tensor:
            given = (x, context, modulation, rotary, audio)
            if self._fails:
                return own(*given)
            self._announce()
            _mark_sizes(x, rotary, audio)
            try:
                return (in_parts if block.chunk_tokens else whole)(*given)
            except _compiler_errors() as error:
                self._give_up(error, writes=bool(block.chunk_tokens))
            return own(*given)

        return forward

    def around_rows(self, own: Callable[..., None], backend: Any) -> Callable[..., None]:
        """A function of rows, compiled: one graph, which writes nothing before it is there."""
        compiled = torch.compile(own, backend=backend, fullgraph=True)

        def work(*given: Tensor) -> None:
            if self._fails:
                return own(*given)
            self._announce()
            for tensor in given:
                if tensor.ndim > 1:
                    torch._dynamo.maybe_mark_dynamic(tensor, 0)
            try:
                return compiled(*given)
            except _compiler_errors() as error:
                self._give_up(error, writes=False)
            return own(*given)

        return work

    def _announce(self) -> None:
        if not self._has_run:
            self._say(f"compiling {self._whose}, if this was not done before")
        self._has_run = True

    def _give_up(self, error: Exception, *, writes: bool) -> None:
        """Without writing in place nothing has run yet, and the block's own code can take the call."""
        reason = _reason(error)
        if writes or not self._falls_back:
            raise UserError(
                f"{self._whose} can't be compiled: {reason}", fix="Set compile to off."
            ) from error
        self._fails = True
        log.warning("%s can't be compiled: %s", self._whose, reason, exc_info=error)
        self._say(f"{self._whose} can't be compiled and run as they are: {reason}")


def _compiler_errors() -> tuple[type[Exception], ...]:
    """Errors of the compiler itself, none of the code that it makes."""
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return TorchDynamoException, FailOnRecompileLimitHit


def _reason(error: Exception) -> str:
    """The first line of what the compiler's backend said, which the error is wrapped around."""
    text = str(getattr(error, "inner_exception", error))
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def _mark_sizes(x: Tensor, rotary: Rotary, audio: AudioContext | None) -> None:
    """What differs from video to video: tokens, latent frames, tokens of a frame."""
    sized = [x, rotary.cos, rotary.sin]
    if audio is not None:
        sized.append(audio.tokens)
        if audio.regions is not None:
            sized.append(audio.regions.masks)
    for tensor in sized:
        torch._dynamo.maybe_mark_dynamic(tensor, 1)
