"""How this machine should run a request: the second half of the field table that `request.py` tells about."""

from dataclasses import dataclass

from wanvideo.fields import row

AS_STORED = "as_stored"  # of requantize
FP16_FAST = "fp16_fast"  # of base_precision
RMS_NORM = "default"  # of rms_norm_function


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How to run it. "auto" is decided by the planner from the machine; a set value is never changed
    silently.
    """

    base_precision: str = row(
        "choice",
        "auto",
        "Base precision",
        "dtype the transformer computes in; fp16_fast also sums in fp16: faster on GeForce cards, less exact",
        choices=("auto", "bf16", "fp16", FP16_FAST, "fp32"),
        value_aliases=(("bf16_fast", "bf16"),),
    )
    quantization: str = row(
        "name", "auto", "Quantization", "how the big weights are stored", flag="--quantization"
    )
    requantize: str = row(
        "choice",
        "auto",
        "FP8 file under an FP4 name",
        "auto: made real 4 bit once and kept on disk; as_stored: stays FP8",
        choices=("auto", AS_STORED),
    )
    attention: str = row(
        "name", "auto", "Attention Mode", "how self-attention is computed", flag="--attention"
    )
    per_block_mean: str = row(
        "choice",
        "auto",
        "Per-block mean",
        "SageAttention 3: finer, slower and with much memory; auto is off above 16,384 tokens",
        choices=("auto", "on", "off"),
    )
    fuse_qkv_projections: bool = row(
        "bool",
        False,
        "Fused projections",
        "one product for query, key and value instead of three, where their weights are stored alike",
    )
    rms_norm_function: str = row(
        "choice",
        RMS_NORM,
        "Norm of queries and keys",
        "default: made from fp32; pytorch: the fused one, from the base precision, with less memory traffic",
        choices=(RMS_NORM, "pytorch"),
        value_aliases=(("fast", "pytorch"), ("apex", "pytorch")),
    )
    use_tf32: bool = row(
        "bool",
        False,
        "TF32",
        "fp32 products with 10 bits of mantissa: faster; off: in convolutions alone, as PyTorch has it",
    )
    use_cublas_gemm: bool = row(
        "bool", False, "cuBLASLt", "prefer the cuBLASLt library for matrix products; speed differs per card"
    )
    force_contiguous_tensors: bool = row(
        "bool",
        False,
        "Check tensor layout",
        "for finding faults: stops where a linear or an attention gets a tensor that lies badly in memory",
    )
    strict: bool = row("bool", False, "Strict", "an option that can't run here is an error", flag="--strict")
    output_dir: str = row("path", "outputs", "Output folder", "where results go", flag="--output-dir")
    models_dir: str = row("path", "models", "Models folder", "where checkpoints are", flag="--models-dir")
