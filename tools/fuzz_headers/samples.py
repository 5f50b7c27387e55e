"""Valid model files in pieces (the tokens of JSON, the fields of GGUF, the opcodes of a pickle), and what may
stand in place of a piece.
"""

import io
import itertools
import math
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

Shapes = dict[str, list[int]]
DIFFUSION: Shapes = {  # as far as it decides what the file is
    "patch_embedding.weight": [128, 16, 1, 2, 2],
    "text_embedding.0.weight": [128, 32],
    "blocks.0.modulation": [1, 6, 128],
    "blocks.0.self_attn.q.weight": [128, 128],
    "blocks.0.self_attn.k.weight": [128, 128],
    "blocks.0.ffn.0.weight": [128, 128],
}
_BLOCK = "encoder.block.0.layer."
TEXT: Shapes = {  # a whole encoder, so that what is accepted loads
    "shared.weight": [40, 32],
    "encoder.final_layer_norm.weight": [32],
    f"{_BLOCK}0.layer_norm.weight": [32],
    f"{_BLOCK}1.layer_norm.weight": [32],
    f"{_BLOCK}0.SelfAttention.relative_attention_bias.weight": [32, 1],
    **{f"{_BLOCK}0.SelfAttention.{part}.weight": [32, 32] for part in "qkvo"},
    **{f"{_BLOCK}1.DenseReluDense.{part}.weight": [32, 32] for part in ("wi_0", "wi_1", "wo")},
}
MODELS = (DIFFUSION, TEXT)
MARKER = b'{"format":"float8_e4m3fn"}'
ODD_NUMBERS = (0, 1, 2, 3, 7, 31, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 60, (1 << 64) - 1)
ODD_TOKENS = [
    *(b"-1", b"0", b"1e999", b"-0.0", b"1.5", b"NaN", b"null", b"true", b"{}", b"[]", b'""', b'"X"'),
    *(b'"\\ud800"', b"\xff\xfe", b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"99999999999999999999"),
    *(b"[0,0]", b"[1,1,1,1,1]", b'"F32"', b'"F8_E4M3"', b'"I8"', b'"U8"', b'"F4"', b'"__metadata__"'),
    *(b'"scaled_fp8"', b'"spiece_model"', b'"_quantization_metadata"', b'"audio_proj.proj1.weight"'),
    *(b'"blocks.0.self_attn.q.weight"', b'"blocks.99999999999.norm3.weight"', b'"shared.weight"'),
    *(b'"blocks.0.self_attn.q.weight._data"', b'"blocks.0.self_attn.q.lora_A.weight"', b'"vace_blocks.0"'),
    *(b'"blocks.0.self_attn.q.weight_scale"', b'"blocks.0.self_attn.q.weight_scale_2"', b'"conv2.weight"'),
]
ODD_OPCODES = [
    *(b"cos\nsystem\n", b"c__builtin__\neval\n", b"\x8c\x05posix\x8c\x06system\x93", b"ctorch\nload\n"),
    *(
        b"R",
        b"o",
        b"(",
        b"t",
        b"\x81",
        b"b",
        b"s",
        b"u",
        b"e",
        b"a",
        b".",
        b"0",
        b"2",
        b"}",
        b"]",
        b"N",
        b")",
    ),
    *(b"Q", b"X\x04\x00\x00\x00true(tR.", b"J\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f"),
    *(b"h\x00", b"\x95" + b"\xff" * 7 + b"\x7f", b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f"),
    *(b"\x82\x01", b"\x8b\x04\x00\x00\x00\xff\xff\xff\x7f", b"I99999999999999999999\n", b"Fnan\n"),
    *(b"\x80\xff", b"P1\n", b"K\xff", b"G\x7f\xf0\x00\x00\x00\x00\x00\x00", b"(" * 3000, b"]" * 3000),
]
_TEXT, _ARRAY, _U32, _I32 = 8, 9, 4, 5  # types of GGUF's values
_F16, _Q8_0 = 1, 8  # and of its tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`odd` may stand in place of any piece; `join` makes the file of them."""

    suffix: str
    pieces: list[bytes]
    odd: list[bytes]
    join: Callable[[list[bytes]], bytes] = b"".join


def safetensors_samples() -> Iterator[Sample]:
    """Models dense and in fp8 with scales and markers."""
    for shapes, quantized in itertools.product(MODELS, (False, True)):
        entries, data = ['"__metadata__":{"format":"pt"}'], b""
        for name, dtype, shape, content in _safetensors_parts(shapes, quantized):
            place = f"[{len(data)},{len(data) + len(content)}]"
            entries.append(f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{place}}}')
            data += content
        tokens = re.findall(r'"[^"]*"|\d+|[^"\d ]', "{" + ",".join(entries) + "}")
        yield Sample(
            suffix=".safetensors",
            pieces=[token.encode() for token in tokens],
            odd=ODD_TOKENS,
            join=_behind_length(data),
        )


def gguf_samples() -> Iterator[Sample]:
    """Every number of the header is a piece of its own."""
    for shapes in MODELS:
        pieces, data = _gguf_pieces(shapes)
        yield Sample(suffix=".gguf", pieces=pieces, odd=ODD_FIELDS, join=_before(data))


def _gguf_pieces(shapes: Shapes) -> tuple[list[bytes], bytes]:
    """(fields of the header, data of zeros)."""
    pieces = [b"GGUF", _u32(3), _u64(len(shapes)), _u64(4)]
    pieces += [*_text(b"general.architecture"), _u32(_TEXT), *_text(b"wan")]
    pieces += [*_text(b"general.alignment"), _u32(_U32), _u32(32)]
    pieces += [*_text(b"tokenizer.ggml.tokens"), _u32(_ARRAY), _u32(_TEXT), _u64(1), *_text(b"<pad>")]
    sizes = DIFFUSION["patch_embedding.weight"]
    pieces += [*_text(b"comfy.gguf.orig_shape.patch_embedding.weight"), _u32(_ARRAY), _u32(_I32)]
    pieces += [_u64(len(sizes)), *map(_u32, sizes)]
    offset = 0
    for name, shape in shapes.items():
        flat = [math.prod(shape[:-2]) * 4, 1] if len(shape) > 4 else shape
        kind, size = (
            (_Q8_0, math.prod(shape) // 32 * 34) if _is_quantized(shape) else (_F16, math.prod(shape) * 2)
        )
        pieces += [
            *_text(name.encode()),
            _u32(len(flat)),
            *map(_u64, reversed(flat)),
            _u32(kind),
            _u64(offset),
        ]
        offset += -(-size // 32) * 32
    return pieces, bytes(offset + 64)


def pickle_samples() -> Iterator[Sample]:
    """The list of tensors of torch.save in opcodes: in a zip, stored or packed, and in the older format."""
    for shapes in MODELS:
        state = {name: torch.zeros(shape) for name, shape in shapes.items()}
        saved = io.BytesIO()
        torch.save(state, saved)
        with zipfile.ZipFile(saved) as archive:
            parts = {item.filename: archive.read(item) for item in archive.infolist()}
        inside = next(name for name in parts if name.endswith("/data.pkl"))
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            opcodes = _opcodes(parts[inside])
            yield Sample(suffix=".pth", pieces=opcodes, odd=ODD_OPCODES, join=_zipped(parts, inside, method))
        saved = io.BytesIO()
        torch.save(state, saved, _use_new_zipfile_serialization=False)
        yield Sample(suffix=".pt", pieces=_opcodes(saved.getvalue()), odd=ODD_OPCODES)


def _is_quantized(shape: list[int]) -> bool:
    return len(shape) == 2 and shape[0] == shape[1]


def _safetensors_parts(shapes: Shapes, quantized: bool) -> Iterator[tuple[str, str, list[int], bytes]]:
    """(name, dtype, shape, content)."""
    for name, shape in shapes.items():
        if not (quantized and _is_quantized(shape)):
            yield name, "F32", shape, bytes(4 * math.prod(shape))
            continue
        stem = name.removesuffix(".weight")
        yield name, "F8_E4M3", shape, bytes(math.prod(shape))
        yield f"{stem}.weight_scale", "F32", [1], bytes(4)
        yield f"{stem}.comfy_quant", "U8", [len(MARKER)], MARKER


def _behind_length(data: bytes) -> Callable[[list[bytes]], bytes]:
    def join(pieces: list[bytes]) -> bytes:
        header = b"".join(pieces)
        return struct.pack("<Q", len(header)) + header + data

    return join


def _before(data: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda pieces: b"".join(pieces) + data


def _zipped(parts: Mapping[str, bytes], inside: str, method: int) -> Callable[[list[bytes]], bytes]:
    def join(pieces: list[bytes]) -> bytes:
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", method) as archive:
            for name, content in {**parts, inside: b"".join(pieces)}.items():
                archive.writestr(name, content)
        return written.getvalue()

    return join


def _opcodes(content: bytes) -> list[bytes]:
    """The pickles at the start of `content`, cut before each opcode; what follows them is the last piece."""
    stream, starts = io.BytesIO(content), []
    try:
        while stream.tell() < len(content):
            base = stream.tell()
            starts += [position for _, _, position in pickletools.genops(stream) if position is not None]
            assert stream.tell() > base
    except ValueError:  # the weights begin
        pass
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def _text(content: bytes) -> tuple[bytes, bytes]:
    return _u64(len(content)), content


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


def _u64(number: int) -> bytes:
    return struct.pack("<Q", number)


ODD_FIELDS = [
    *map(_u64, ODD_NUMBERS),
    *(_u32(number & 0xFFFFFFFF) for number in ODD_NUMBERS),
    *(b"\xff\xfe", *_text(b"enc.blk.0.attn_q.weight"), *_text(b"general.alignment")),
]
