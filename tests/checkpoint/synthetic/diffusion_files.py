"""Diffusion model files of a given kind, as safetensors or GGUF, with the exact values that they hold."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.checkpoint.synthetic import ggml_blocks, gguf_file
from tests.checkpoint.synthetic.containers import Raw, Tensors, floats, kept, write_safetensors
from tests.checkpoint.synthetic.gguf_file import GgufTensor, write_gguf
from tests.checkpoint.synthetic.minifloats import Array
from tests.checkpoint.synthetic.modules import State, original
from tests.checkpoint.synthetic.names import is_big_linear, transformer_name
from tests.checkpoint.synthetic.weights import Layout

Told = Callable[[list[str]], dict[str, str]]
Choose = Callable[[str], Layout]  # by the official name of the weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`base` is a row of `modules.EMPTY`; `rest` the type of all that is not a big linear. `outside` stands
    without the prefix. `words` makes the metadata and `beside` the side-car files (name -> text), both from
    the stems of the quantized layers. `format`, `others`, `scaled` and `exact` are what is to be found of the
    big linears.
    """

    base: str = "i2v"
    linear: Choose
    rest: str = "BF16"
    prefix: str = ""
    outside: Mapping[str, Raw] = field(default_factory=dict)
    words: Told | None = None
    beside: Told = lambda _: {}
    format: str = "dense"
    others: tuple[str, ...] = ()
    scaled: bool = False
    exact: bool = False
    renames: Callable[[str], str] = lambda name: name


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`values`: what each tensor of the module has, in float64."""

    path: Path
    values: State


def always(layout: Layout) -> Choose:
    """The same layout for every layer."""
    return lambda _: layout


def write_kind(kind: Kind, path: Path, part: Callable[[str], bool] = lambda _: True) -> Written:
    """The tensors of the base for which `part` holds, as a file of that kind."""
    state = {name: values for name, values in original(kind.base).items() if part(name)}
    tensors, exact = packed(kind, state)
    stems = _stems(tensors)
    write_safetensors(path, tensors, kind.words(stems) if kind.words is not None else None)
    for name, text in kind.beside(stems).items():
        (path.parent / name).write_text(text)
    return Written(path=path, values=exact)


def packed(kind: Kind, state: State) -> tuple[dict[str, Raw], State]:
    """(tensors by their names in the file, exact values by their names in the module)."""
    tensors, exact = dict(kind.outside), {}
    for name, values in state.items():
        official = kind.renames(transformer_name(name))
        if is_big_linear(name, values.ndim):
            made = kind.linear(official)(values)
            stem = kind.prefix + official.removesuffix(".weight")
            tensors |= {stem + suffix: raw for suffix, raw in made.tensors.items()}
            exact[name] = made.values
        else:
            tensors[kind.prefix + official] = floats(values, kind.rest)
            exact[name] = kept(values, kind.rest)
    return tensors, exact


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufKind:
    """`linear` is the type of every matrix whose rows are whole blocks of it; other weights are F16, vectors
    F32, as converters have it. `flat`: tensors of more than four dimensions are written as a matrix, with
    their shape in a key of ComfyUI's own.
    """

    linear: str
    base: str = "i2v"
    prefix: str = ""
    flat: bool = False


def write_gguf_kind(kind: GgufKind, path: Path, part: Callable[[str], bool] = lambda _: True) -> Written:
    """As `write_kind`."""
    source, tensors, exact = np.random.default_rng(2), {}, {}
    values: dict[str, gguf_file.Value] = {
        "general.architecture": "wan",
        "general.quantization_version": 2,
        "general.file_type": 7,
    }
    for name, weight in original(kind.base).items():
        if not part(name):
            continue
        official = kind.prefix + transformer_name(name)
        tensors[official], exact[name] = gguf_tensor(weight, kind.linear, source)
        if kind.flat and weight.ndim > 4:
            values[f"comfy.gguf.orig_shape.{official}"] = list(weight.shape)
            flat = (weight.size // 256, 256)
            tensors[official] = GgufTensor(kind="F16", shape=flat, content=tensors[official].content)
    return Written(path=write_gguf(path, tensors, values), values=exact)


def gguf_tensor(values: Array, kind: str, source: np.random.Generator) -> tuple[GgufTensor, Array]:
    """(tensor, exact values), in the type that a converter to `kind` would choose."""
    row = ggml_blocks.TYPES.get(kind)
    if values.ndim == 2 and row is not None and values.shape[1] % row.elements == 0:
        content, exact = ggml_blocks.make(values, kind, source)
        return GgufTensor(kind=kind, shape=values.shape, content=content), exact
    dtype = "F32" if values.ndim == 1 else kind if row is None else "F16"
    return gguf_file.dense(values, dtype), kept(values, dtype)


def _stems(tensors: Tensors) -> list[str]:
    found = (re.fullmatch(r"(.*)\.(?:weight_scale|weight\._scale)", name) for name in tensors)
    return [match[1] for match in found if match is not None]
