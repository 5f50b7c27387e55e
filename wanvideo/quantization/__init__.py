"""Quantization modes: the table is the folder (`registry.quantization_modes`), `MODES` of each file its rows.

The modules in `SUPPORT` hold no rows: the formats' arithmetic, the linear layer, which layers are meant.
"""

SUPPORT = frozenset(
    {
        "formats",
        "fp8",
        "gguf",
        "gguf_types",
        "int8",
        "joined",
        "linear",
        "lora",
        "matmul",
        "nvfp4",
        "nvfp4_layout",
        "rows",
        "stored",
        "which",
    }
)
