"""Files of every published kind, written from the definitions of their formats, against dense models made of
their exact values.
"""

from pathlib import Path

import pytest
import torch

from tests.checkpoint.samples import small_vocabulary
from tests.checkpoint.synthetic.companion_files import COMPANIONS, write_companion
from tests.checkpoint.synthetic.compare import answered, applied_weights, error, predicted
from tests.checkpoint.synthetic.containers import write_shards
from tests.checkpoint.synthetic.diffusers_folder import write_diffusers
from tests.checkpoint.synthetic.diffusion_files import (
    GgufKind,
    Kind,
    Written,
    packed,
    write_gguf_kind,
    write_kind,
)
from tests.checkpoint.synthetic.diffusion_kinds import GGUF, INFINITETALK, SAFETENSORS
from tests.checkpoint.synthetic.modules import DIM, LAYERS, TEXT_DIM, State, filled, original
from tests.checkpoint.synthetic.names import is_audio
from wanvideo.checkpoint import load
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.models.text_encoder import PromptTokenizer

WEIGHT_LIMIT = 4e-7  # of the largest weight: up to three roundings in fp32
OUTPUT_LIMIT = 5e-6  # of the largest output: fp32 arithmetic in another order
TASKS = {"t2v": "t2v", "i2v": "i2v", "talk": "talk"}


def check_facts(facts: CheckpointFacts, base: str, written: Written) -> None:
    assert (facts.component, facts.task_hint) == ("transformer", TASKS[base])
    assert (facts.dim, facts.num_layers, facts.text_dim) == (DIM, LAYERS, TEXT_DIM)
    assert facts.in_channels == (16 if base == "t2v" else 36)
    assert facts.has_image_branch == (base != "t2v") and facts.has_audio == (base == "talk")
    assert abs(facts.num_parameters - sum(values.size for values in written.values.values())) <= 2
    assert facts.bytes <= written.path.stat().st_size


def check_model(
    facts: CheckpointFacts, base: str, exact: State, audio: CheckpointFacts | None = None
) -> None:
    model = load.load_transformer(facts, audio, dtype=torch.float32)
    reference = filled(base, exact)
    wanted = applied_weights(reference)
    for name, weight in applied_weights(model).items():
        assert error(weight, wanted[name]) <= WEIGHT_LIMIT, name
    assert error(predicted(model), predicted(reference)) <= OUTPUT_LIMIT


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_safetensors_file(name: str, tmp_path: Path) -> None:
    kind = SAFETENSORS[name]
    written = write_kind(kind, tmp_path / "some.safetensors")
    facts = inspect_checkpoint(written.path)
    check_facts(facts, kind.base, written)
    stored = facts.stored
    assert (stored.weights, stored.others, stored.scaled) == (kind.format, kind.others, kind.scaled)
    if not kind.others:
        assert stored.exact_layers == (stored.layers if kind.exact else 0)
    check_model(facts, kind.base, written.values)


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file(name: str, tmp_path: Path) -> None:
    kind = GGUF[name]
    written = write_gguf_kind(kind, tmp_path / "some.gguf")
    facts = inspect_checkpoint(written.path)
    check_facts(facts, kind.base, written)
    check_model(facts, kind.base, written.values)


MODULES: dict[str, Kind | GgufKind] = {
    **INFINITETALK,
    "GGUF Q8_0": GgufKind(linear="Q8_0", base="talk"),
    "GGUF Q4_K": GgufKind(linear="Q4_K", base="talk"),
}


@pytest.mark.parametrize("name", MODULES)
def test_infinitetalk_beside_its_base(name: str, tmp_path: Path) -> None:
    kind = MODULES[name]
    if isinstance(kind, Kind):
        talk = write_kind(kind, tmp_path / "talk.safetensors", is_audio)
    else:
        talk = write_gguf_kind(kind, tmp_path / "Wan2_1-InfiniteTalk_Single.gguf", is_audio)
    base = write_kind(SAFETENSORS["official fp32"], tmp_path / "base.safetensors")
    audio = inspect_checkpoint(talk.path)
    assert (audio.component, audio.task_hint, audio.has_audio) == ("infinitetalk", "talk", True)
    assert (audio.dim, audio.num_layers) == (DIM, LAYERS)
    check_model(inspect_checkpoint(base.path), "talk", base.values | talk.values, audio)


@pytest.mark.parametrize("name", ["official bf16", "Kijai scaled e4m3, 0 in the marker", "LightX2V int8"])
def test_a_sharded_file(name: str, tmp_path: Path) -> None:
    """By its index, by its folder and by any shard."""
    kind = SAFETENSORS[name]
    tensors, exact = packed(kind, original(kind.base))
    index = write_shards(tmp_path, "diffusion_pytorch_model", tensors, 3)
    by_index = inspect_checkpoint(index)
    shard = tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors"
    assert inspect_checkpoint(tmp_path) == inspect_checkpoint(shard) == by_index
    assert len(by_index.files) == 3 and by_index.stored.weights == kind.format
    check_model(by_index, kind.base, exact)


LOADERS = {
    "vae": load.load_vae,
    "text_encoder": load.load_text_encoder,
    "image_encoder": load.load_image_encoder,
    "speech_encoder": load.load_speech_encoder,
}


def check_companion(component: str, facts: CheckpointFacts, exact: State) -> None:
    assert facts.component == component
    model = LOADERS[component](facts, dtype=torch.float32)  # type: ignore[operator]
    found = model.state_dict()
    for name, values in exact.items():
        if values.size:
            assert error(found[name].double(), torch.from_numpy(values)) <= WEIGHT_LIMIT, name
    assert error(answered(component, model), answered(component, filled(component, exact))) <= OUTPUT_LIMIT


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion(name: str, tmp_path: Path) -> None:
    row = COMPANIONS[name]
    path, exact = write_companion(row, tmp_path)
    facts = inspect_checkpoint(path)
    check_companion(row.component, facts, exact)
    assert facts.has_tokenizer == row.has_tokenizer
    if row.has_tokenizer:
        wanted = PromptTokenizer(small_vocabulary())
        assert load.load_tokenizer(path).encode("a cat speaks") == wanted.encode("a cat speaks")


@pytest.mark.parametrize("base", ["t2v", "i2v"])
def test_a_diffusers_folder(base: str, tmp_path: Path) -> None:
    exact = write_diffusers(tmp_path / "Wan2.1-diffusers", base)
    for part, values in exact.items():
        facts = inspect_checkpoint(tmp_path / "Wan2.1-diffusers" / part)
        if part == "transformer":
            assert facts.task_hint == base
            check_model(facts, base, values)
        else:
            check_companion(part, facts, values)
