"""A check for finding faults: every linear and every attention gets memory that its kernel can read.

What has to hold: the input of a linear, and everything a quantized linear keeps, is contiguous and starts at
a multiple of 16 bytes. Query, key and value are strided views by design (of one joined product, or of heads
brought to the front), and kernels take strides: there each row of head_dim has to be dense and to start at a
multiple of 16 bytes. A kernel that wants them in one piece gets a contiguous copy, which is checked too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from wanvideo.attention.kernel import watched
from wanvideo.models.audio_attention import AudioCrossAttention
from wanvideo.models.transformer import Block, WanTransformer
from wanvideo.quantization.linear import ALIGNMENT, QLinear
from wanvideo.registry import AttentionFunction

INPUTS = ("query", "key", "value")


class ContiguityError(RuntimeError):
    """A tensor that lies badly in memory: a fault of the program, with the module that got it."""


@contextmanager
def contiguity_checked(model: WanTransformer) -> Iterator[None]:
    """Check each forward pass of `model`; afterwards nothing of it stays on the model.

    Raises ContiguityError, which names module, shape, strides and address.
    """
    check = _AttentionCheck()
    hooks = [
        module.register_forward_pre_hook(partial(_check_linear, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    hooks += [
        module.register_forward_pre_hook(partial(check.enter, name))
        for name, module in model.named_modules()
        if isinstance(module, (Block, AudioCrossAttention))
    ]
    try:
        with check:
            yield
    finally:
        for hook in hooks:
            hook.remove()
        check.unwrap(model)


class _AttentionCheck(TorchFunctionMode):
    """Sees every call of torch's attention, and puts itself before the kernels that are not torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.place = ""
        self.plain: dict[
            AttentionFunction, AttentionFunction
        ] = {}  # checked function -> the one it stands for

    def enter(self, name: str, module: nn.Module, _: Any) -> None:
        """A block, or the speech attention within it, begins."""
        self.place = name
        if isinstance(module, Block) and module.attention not in self.plain:
            checked = self._checked(module.attention)
            if checked is not module.attention:
                self.plain[checked] = module.attention
                module.attention = checked

    def unwrap(self, model: WanTransformer) -> None:
        """Give the blocks their own functions back."""
        for block in model.blocks:
            assert isinstance(block, Block)
            block.attention = self.plain.get(block.attention, block.attention)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is scaled_dot_product_attention:
            given = {**dict(zip(INPUTS, args, strict=False)), **(kwargs or {})}
            for name in INPUTS:
                self._check(name, given[name], False)
        return func(*args, **(kwargs or {}))

    def _checked(self, attention: AttentionFunction) -> AttentionFunction:
        known = (checked for checked, plain in self.plain.items() if plain is attention)
        return next(known, None) or watched(attention, self._check)

    def _check(self, name: str, states: Tensor, packed: bool) -> None:
        _require(self.place, f"attention {name}", states, _is_packed(states) if packed else _has_rows(states))


def _check_linear(name: str, linear: nn.Module, given: tuple[Tensor, ...]) -> None:
    _require(name, "input", given[0], _is_packed(given[0]))
    if isinstance(linear, QLinear):
        for part, tensor in linear.stored().tensors.items():
            _require(name, part, tensor, _is_packed(tensor))


def _is_packed(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0


def _has_rows(states: Tensor) -> bool:
    """Whether the rows of the last dimension are dense and start where kernels can read them."""
    *outer, inner = zip(states.shape, states.stride(), strict=True)
    starts = [stride * states.itemsize for size, stride in outer if size > 1] + [states.data_ptr()]
    return (inner[1] == 1 or inner[0] == 1) and all(start % ALIGNMENT == 0 for start in starts)


def _require(module: str, what: str, tensor: Tensor, holds: bool) -> None:
    if holds or tensor.numel() == 0:
        return
    raise ContiguityError(
        f"{module}: {what} of shape {tuple(tensor.shape)} lies badly in memory: strides {tensor.stride()} of"
        f" {tensor.itemsize} bytes, address {tensor.data_ptr():#x}, which should be a multiple of {ALIGNMENT}"
    )
