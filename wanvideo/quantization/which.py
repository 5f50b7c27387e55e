"""Which linear layers are quantized: the big ones of the blocks, by their names in the module."""

import re

_BIG_LINEAR = re.compile(
    r"blocks\.\d+\.(?:"
    r"attn[12]\.(?:to_q|to_k|to_v|to_out\.0)"
    r"|attn2\.(?:add_k_proj|add_v_proj)"
    r"|ffn\.net\.(?:0\.proj|2)"
    r"|audio_cross_attn\.(?:q_linear|kv_linear|proj)"
    r")"
)


def is_quantized_linear(module_name: str) -> bool:
    """Whether the linear of this name, as in `WanTransformer.named_modules`, is stored quantized.

    The rest (embeddings, modulation, norms, output projection, audio projection) sets the gain of every token
    and is under one per cent of the bytes.
    """
    return _BIG_LINEAR.fullmatch(module_name) is not None
