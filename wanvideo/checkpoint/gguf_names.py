"""llama.cpp's names of a T5 encoder's tensors, and what the releases call them.

GGUF files of diffusion models keep the names of their source; those of text encoders have names of their own.
"""

import re

_WHOLE = {"token_embd": "shared", "enc.output_norm": "encoder.final_layer_norm"}
_BLOCK = {
    "attn_norm": "layer.0.layer_norm",
    **{f"attn_{name}": f"layer.0.SelfAttention.{name}" for name in "qkvo"},
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "ffn_norm": "layer.1.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
}
_IN_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)\.(\w+)")


def name_in_release(name: str) -> str:
    """`enc.blk.3.attn_q.weight` -> `encoder.block.3.layer.0.SelfAttention.q.weight`; any other as it is."""
    stem, _, leaf = name.rpartition(".")
    if stem in _WHOLE:
        return f"{_WHOLE[stem]}.{leaf}"
    found = _IN_BLOCK.fullmatch(name)
    if found is None or found[2] not in _BLOCK:
        return name
    return f"encoder.block.{found[1]}.{_BLOCK[found[2]]}.{found[3]}"
