"""Products whose fp8 activations one kernel makes of what is in memory, where code is compiled for a card.

Each function gives None in other code, for a linear that multiplies with other values, and for one with LoRA
branches; then the linear is called as it is.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from wanvideo.models.compiled_for_card import compiled_for_card
from wanvideo.quantization.fp8 import most_inverse
from wanvideo.quantization.linear import QLinear


def product_of_rows(linear: nn.Module, rows: Tensor) -> Tensor | None:
    """`linear` of rows (..., in_features), as an attention gives them."""
    return _product(linear, rows, gelu=False)


def product_of_gelu(linear: nn.Module, gate: Tensor) -> Tensor | None:
    """`linear` of gelu(gate) in its tanh form, gate (..., in_features)."""
    return _product(linear, gate, gelu=True)


def products_of_norm(
    linears: Sequence[nn.Module], norm: nn.LayerNorm, rows: Tensor, modulation: tuple[Tensor, Tensor]
) -> list[Tensor] | None:
    """Each of `linears` of what `norm_modulation.norm_modulate` gives."""
    taking = [linear for linear in linears if isinstance(linear, QLinear) and linear.takes_fp8()]
    if len(taking) < len(linears) or not compiled_for_card(rows):
        return None
    from wanvideo.kernels.norm_modulation import norm_modulated_to_fp8

    made = norm_modulated_to_fp8(rows, *modulation, norm.eps, most_inverse(rows.dtype))
    return [linear.product_of_fp8(*made, rows.dtype).unflatten(0, rows.shape[:-1]) for linear in taking]


def _product(linear: nn.Module, rows: Tensor, *, gelu: bool) -> Tensor | None:
    if not (isinstance(linear, QLinear) and linear.takes_fp8() and compiled_for_card(rows)):
        return None
    from wanvideo.kernels.rows_to_fp8 import rows_to_fp8

    made = rows_to_fp8(rows.flatten(0, -2), most_inverse(rows.dtype), gelu=gelu)
    return linear.product_of_fp8(*made, rows.dtype).unflatten(0, rows.shape[:-1])
