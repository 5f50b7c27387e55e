"""Names of published files for the tensors of the modules, written down from the files' own lists.

The modules carry the names of diffusers (transformer, VAE) and transformers (the encoders); the reference
needs nothing of the application's name tables.
"""

import re
from collections.abc import Iterable

Rules = tuple[tuple[str, str], ...]

_TRANSFORMER: Rules = (
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\.", "img_emb.proj.1."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\.", "img_emb.proj.3."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"^(blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
    (r"^(blocks\.\d+)\.norm2\.", r"\1.norm3."),
    (r"^(blocks\.\d+)\.ffn\.net\.0\.proj\.", r"\1.ffn.0."),
    (r"^(blocks\.\d+)\.ffn\.net\.2\.", r"\1.ffn.2."),
    (r"\.attn2\.add_([kv])_proj\.", r".cross_attn.\1_img."),
    (r"\.attn2\.norm_added_k\.", ".cross_attn.norm_k_img."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"_attn\.to_([qkv])\.", r"_attn.\1."),
    (r"_attn\.to_out\.0\.", "_attn.o."),
)
_VAE: Rules = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
    (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.down_blocks\.", ".downsamples."),
    (r"\.norm1\.", ".residual.0."),
    (r"\.norm2\.", ".residual.3."),
    (r"(samples\.\d+|middle\.[02])\.conv1\.", r"\1.residual.2."),
    (r"(samples\.\d+|middle\.[02])\.conv2\.", r"\1.residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
)
_TEXT: Rules = (
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm\.", "norm."),
    (r"^encoder\.block\.", "blocks."),
    (r"\.layer\.0\.layer_norm\.", ".norm1."),
    (r"\.layer\.0\.SelfAttention\.relative_attention_bias\.", ".pos_embedding.embedding."),
    (r"\.layer\.0\.SelfAttention\.", ".attn."),
    (r"\.layer\.1\.layer_norm\.", ".norm2."),
    (r"\.layer\.1\.DenseReluDense\.wi_0\.", ".ffn.gate.0."),
    (r"\.layer\.1\.DenseReluDense\.wi_1\.", ".ffn.fc1."),
    (r"\.layer\.1\.DenseReluDense\.wo\.", ".ffn.fc2."),
)
_TEXT_GGUF: Rules = (  # of llama.cpp
    (r"^shared\.", "token_embd."),
    (r"^encoder\.final_layer_norm\.", "enc.output_norm."),
    (r"^encoder\.block\.", "enc.blk."),
    (r"\.layer\.0\.layer_norm\.", ".attn_norm."),
    (r"\.layer\.0\.SelfAttention\.relative_attention_bias\.", ".attn_rel_b."),
    (r"\.layer\.0\.SelfAttention\.", ".attn_"),
    (r"\.layer\.1\.layer_norm\.", ".ffn_norm."),
    (r"\.layer\.1\.DenseReluDense\.wi_0\.", ".ffn_gate."),
    (r"\.layer\.1\.DenseReluDense\.wi_1\.", ".ffn_up."),
    (r"\.layer\.1\.DenseReluDense\.wo\.", ".ffn_down."),
)
_IMAGE: Rules = (
    (r"^embeddings\.class_embedding$", "cls_embedding"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embedding"),
    (r"^embeddings\.patch_embedding\.", "patch_embedding."),
    (r"^pre_layrnorm\.", "pre_norm."),
    (r"^post_layernorm\.", "post_norm."),
    (r"^encoder\.layers\.", "transformer."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
    (r"^", "visual."),
)
_SPEECH: Rules = (
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)


def transformer_name(name: str) -> str:
    """The official name of a tensor of the diffusion model or of InfiniteTalk."""
    return _replaced(name, _TRANSFORMER)


def vae_name(name: str, resnets: int) -> str:
    """The official name of a tensor of a VAE with that many residual blocks at each size of the decoder.

    The official decoder counts residual blocks and resamplers of all sizes in one row.
    """
    found = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)\.(.*)", name)
    if found is None:
        return _replaced(name, _VAE)
    place = int(found[1]) * (resnets + 1) + (resnets if found[3] is None else int(found[3]))
    return _replaced(f"decoder.upsamples.{place}.{found[4]}", _VAE)


def text_name(name: str) -> str:
    """The official name of a tensor of UMT5."""
    return _replaced(name, _TEXT)


def text_gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor of UMT5."""
    return _replaced(name, _TEXT_GGUF)


def image_name(name: str) -> str:
    """The official name of a tensor of CLIP's vision tower; query, key and value keep their own."""
    return _replaced(name, _IMAGE)


def speech_name(name: str) -> str:
    """The name in published wav2vec2 files."""
    return _replaced(name, _SPEECH)


def is_big_linear(name: str, dimensions: int) -> bool:
    """Whether quantized files quantize the tensor of that module name: the linears of the blocks."""
    return name.startswith("blocks.") and dimensions == 2


def is_audio(name: str) -> bool:
    """Whether a tensor belongs to InfiniteTalk's module."""
    return "audio_" in name or ".norm_x." in name


def numbers_left_out(names: Iterable[str]) -> set[str]:
    """Names with every number replaced: the kinds of tensors there are."""
    return {re.sub(r"\.\d+\.", ".N.", re.sub(r"\.\d+\.", ".N.", name)) for name in names}


def _replaced(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
