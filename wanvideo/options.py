"""How this machine should run a request: the second half of the field table that `request.py` tells about."""

from dataclasses import dataclass

from wanvideo.fields import row

AS_STORED = "as_stored"  # of requantize
FP16_FAST = "fp16_fast"  # of base_precision
RMS_NORM = "default"  # of rms_norm_function
OFFLOAD_DEVICE = "offload_device"  # of load_device
VAE_AUTO = "auto"  # of vae_precision
COMPILE_AUTO, COMPILE_OFF, COMPILE_BLOCKS = "auto", "off", "blocks"  # of compile
NO_STEP_CACHE = "off"  # of step_cache


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
    vae_precision: str = row(
        "choice",
        VAE_AUTO,
        "VAE precision",
        "fp16, bf16: half the memory and less time for encoding and decoding; fp16 is nearer to fp32; auto: "
        "fp16 on a card, fp32 on a CPU",
        choices=(VAE_AUTO, "fp32", "fp16", "bf16"),
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
    compile: str = row(
        "choice",
        COMPILE_AUTO,
        "Compiled blocks",
        "blocks: torch.compile makes code for the model's blocks, the same video within rounding, in less "
        "time; auto: on a card, where the job is long enough to pay for it",
        choices=(COMPILE_AUTO, COMPILE_OFF, COMPILE_BLOCKS),
    )
    step_cache: str = row(
        "choice",
        NO_STEP_CACHE,
        "Step cache",
        "steps that change little take over what an earlier step computed: faster, and not the same video",
        choices=(NO_STEP_CACHE, "teacache", "magcache", "first_block"),
    )
    step_cache_threshold: float | None = row(
        "float",
        None,
        "Step cache threshold",
        "how much may change before a step is computed: higher is faster and less exact; 0 computes every "
        "step, empty is what the method's authors recommend for the model",
        low=0,
        high=10,
    )
    auto_hardware_tuning: bool = row(
        "bool",
        True,
        "Automatic tuning",
        "what is left automatic is chosen from tests on this machine; off: it is plain (exact attention, "
        "weights as in the file, streams and prefetch as given)",
    )
    blocks_to_swap: int | str = row(
        "auto_int",
        "auto",
        "Block Swap",
        "auto, off, or how many of the last blocks wait in main memory; a number is a minimum",
        low=0,
        flag="--blocks-to-swap",
    )
    load_device: str = row(
        "choice",
        "main_device",
        "Load device",
        "where weights are quantized and wait between jobs: the card, or main memory (offload_device)",
        choices=("main_device", OFFLOAD_DEVICE),
    )
    num_cuda_streams: int = row(
        "int", 8, "CUDA streams", "copy streams for block swap; more than 4 gain nothing", low=1, high=16
    )
    prefetch_blocks: int = row(
        "int", 1, "Prefetch", "blocks copied ahead of the one that computes", low=0, high=4
    )
    bandwidth_target: float = row(
        "float",
        0.8,
        "Bandwidth target",
        "share of the measured copy speed, and of the memory left for staging, that the planner counts on",
        low=0.1,
        high=1,
    )
    vram_threshold_percent: int | str = row(
        "auto_int",
        "auto",
        "VRAM threshold",
        "percent of the card that weights and staging may take; auto: all that activations leave free",
        low=30,
        high=95,
    )
    enable_cuda_optimization: bool = row(
        "bool", True, "Copy ahead", "page-locked memory and copies beside the computing; off: plain copies"
    )
    enable_dram_optimization: bool = row(
        "bool", True, "Page-locked memory", "pin up to half of the main memory; off: none is pinned"
    )
    offload_txt_emb: bool = row(
        "bool", False, "Offload text embedding", "its weights leave the card once the prompt is embedded"
    )
    offload_img_emb: bool = row(
        "bool", False, "Offload image embedding", "its weights leave the card once the picture is embedded"
    )
    vace_blocks_to_swap: int = row(
        "int", 0, "VACE blocks", "for workflows that have it; there is no VACE here", low=0
    )
    vae_tiling: str = row(
        "choice",
        "auto",
        "VAE tiling",
        "the VAE works on parts of the picture: less memory, slower; auto: when memory is short",
        choices=("auto", "on", "off"),
    )
    force_offload: bool = row(
        "bool", False, "Offload the model", "the diffusion model leaves the card before the VAE decodes"
    )
    debug_mode: bool = row(
        "bool", False, "Block timing", "log copying, waiting and computing of every swapped block"
    )
    gpus: int | str = row(
        "auto_int",
        "auto",
        "Cards",
        "how many cards make videos side by side: variations of a command, jobs of the page; auto: all",
        low=1,
        high=64,
        flag="--gpus",
    )
    strict: bool = row("bool", False, "Strict", "an option that can't run here is an error", flag="--strict")
    output_dir: str = row("path", "outputs", "Output folder", "where results go", flag="--output-dir")
    models_dir: str = row("path", "models", "Models folder", "where checkpoints are", flag="--models-dir")
