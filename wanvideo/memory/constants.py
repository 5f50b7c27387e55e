"""The measured and published numbers that forecasts are made of, all in one place.

Measured on an H200 with torch 2.11: a forward of the 14B model in bf16, 832x480 and 81 frames, 32,760 tokens,
peaks 3.5 GiB above its weights.
"""

GB = 10**9
MIB, GIB = 1 << 20, 1 << 30

# What other programs, the desktop and CUDA's own context may still take of a card.
RESERVED_BYTES = 1 * GB
# Python, torch, decoded frames and what a system needs beside them.
HOST_BASE_BYTES = 4 * GB
CPU_BASE_BYTES = 1 * GB  # where the models themselves are in main memory, and nothing is page-locked

# The diffusion model: live at the peak of a block, as multiples of (tokens x width).
FP32_COPIES = 3  # of the tokens that a rotation, a norm with its modulation or a residual sum holds at once
HIDDEN_COPIES = 2  # of the feed-forward's hidden states: before and after GELU
ATTENTION_STATES = 4  # query, key, value and the result
EXACT_COPIES = 1.0  # the result in another layout
OTHER_COPIES = 2.0  # of a foreign kernel: operands in its layout or its number format
LATENT_COPIES = 12  # fp32 tensors of the latents' size: noise, solver, guidance
ROTARY_BYTES = 512  # for each token: cos and sin in fp32, 64 each
WORKSPACE_BYTES = 64 * MIB  # of the matrix libraries
MAP_HEADS = 8  # the speaker map works on so many heads in fp32 at a time
MEAN_TOKENS_A_BLOCK = 128  # SageAttention 3's correction: fp32, heads x tokens / 128 x tokens
HEAD_DIM = 128

# The published structure of the parts that no header tells.
PUBLISHED_FFN = {5120: 13824, 1536: 8960}
TEXT_TOKENS, IMAGE_TOKENS, AUDIO_TOKENS = 512, 257, 32
TIME_DIM = 256
AUDIO_DIM = 768
TEXT_FFN = 2.5  # UMT5: the feed-forward's width beside the model's
TEXT_WIDTHS = 4 + 3 * TEXT_FFN  # parameters of a layer in squares of the width
IMAGE_WIDTHS = 12  # the same of CLIP

TEXT_WORKING_BYTES = 300 * MIB  # UMT5 on 512 tokens
IMAGE_WORKING_BYTES = 200 * MIB  # CLIP on one picture

# The VAE at its published width; what a pixel of a picture or tile takes stands beside the tiles.
VAE_DIM = 96
# Of its live bytes, what cuDNN's workspaces take beside them: an H200 took 7.2 GiB to encode 640x640.
ENCODE_RESERVED, DECODE_RESERVED = 1.35, 1.15
# Of the decoder's bytes, what PyTorch keeps beside them in freed pieces that no later tensor fits into: 0.4
# to 1.4 GiB in whole jobs on an H200, less where the card is full.
DECODE_KEPT = 0.2
HALF_VAE_BYTES, HALF_VAE_TIME = 0.53, 0.66  # of a VAE in two bytes, beside the same in fp32; on an H200
PIECE_BYTES_PER_PIXEL = 4 * 3 * 4 * 3  # four frames in fp32, with the colours before and after matching
DECODE_FLOPS_PER_PIXEL = 8.62e6  # for a pixel of each frame; counted by torch's FlopCounterMode
ENCODE_FLOPS_PER_PIXEL = 5.14e6
VAE_TILES = (512, 384, 272, 192)

# Time.
ELEMENTWISE_BYTES = 107  # of memory traffic a block has for each number of (tokens x width)
DEQUANTIZE_BYTES = 14  # for each weight: read, as fp32, scaled, written
PROMPT_TOKENS = 128  # of a usual prompt; encoding runs on the real length
SPEECH_STEPS = 50  # of the speech encoder a second
EXPECTED_SHARE = 0.6  # of a card's published speed: an H200 reaches 0.6, a published run on a 4090 0.8
GUESSED_CORE_TFLOPS = 0.03  # of a CPU core in fp32
GUESSED_CPU_GBS = 10.0
GUESSED_CARD_TFLOPS = 40.0  # of a card that is not in the table
GUESSED_CARD_GBS = 400.0
PAGEABLE_SHARE = 0.4  # of the speed of copies from page-locked memory
FAST_FACTOR = 1.8  # products in 8 bits beside those in bf16
OWN_FACTOR = 3.0  # in 4 bits, on their own tensor cores
# Time of a step with compiled blocks beside that without, by the class of products; on an H200, 14B at 480p.
COMPILED_SHARE = {"": 0.87, "fast": 0.75, "own": 0.75}
COMPILE_SECONDS = 20  # the first time, on the same machine
# Video on disk until the windows are joined: H.264 at this quality, bytes for each pixel of a frame.
WINDOW_BYTES_PER_PIXEL = 0.06

CHUNKS = (16_384, 8_192, 4_096)  # tokens; smaller ones only after the memory ran out
MOST_STREAMS = 4  # one copy engine serves them all
AUTOMATIC_STREAMS = 2
