"""What loading takes of the host beside its result, measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoint.quantized_files import official_state, small_model, write
from wanvideo.checkpoint.mapped import map_file
from wanvideo.checkpoint.state import read_file

ROOT = Path(__file__).parents[2]
LARGEST = 4 * 512 * 4096  # bytes of one fp32 weight
MODES = ("fp8_e4m3fn_scaled", "fp4_scaled")

# Memory of our own (RssAnon): the pages of a mapped file are the system's to take back.
MEASURE = """
import json, sys, threading
from pathlib import Path
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_transformer
from wanvideo.registry import quantization_modes

def own():
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not over.wait(0.0005):
        peaks.append(own())

facts, found = inspect_checkpoint(Path(sys.argv[1])), {}
for name in (sys.argv[2], *sys.argv[2:]):  # the first of all warms up
    before, peaks, over = own(), [0], threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    model = load_transformer(facts, mode=quantization_modes()[name])
    over.set()
    watcher.join()
    result = sum(part.numel() * part.element_size() for part in model.parameters())
    found[name] = [max(peaks) - before, result]
    del model
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_needs_the_largest_tensor_beside_the_result(tmp_path: Path) -> None:
    model = small_model(audio=False, num_attention_heads=4, added_kv_proj_dim=512, ffn_dim=4096, num_layers=6)
    facts = write(tmp_path / "wide.safetensors", official_state(model))
    assert facts.bytes > 12 * LARGEST
    command = [sys.executable, "-c", MEASURE, str(facts.path), *MODES]
    # Blocks of 64 KB and more go back to the system when they are freed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    for name, (peak, result) in json.loads(done.stdout.splitlines()[-1]).items():
        assert result < 0.4 * facts.bytes
        assert 0.6 * result < peak < result + 3 * LARGEST, (name, peak, result)


def test_a_file_that_cannot_be_reserved_is_mapped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux refuses a private mapping that is larger than the memory."""
    tensors = {
        "a": torch.arange(12, dtype=torch.float32).view(3, 4),
        "b": torch.arange(7).to(torch.bfloat16),
        "c": torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
        "d": torch.tensor(3, dtype=torch.int64),
    }
    path = tmp_path / "file.safetensors"
    save_file(tensors, path)
    known = read_file(path)

    def refuse(*_: object) -> None:
        raise RuntimeError("unable to mmap 28600000000 bytes: Cannot allocate memory")

    monkeypatch.setattr("wanvideo.checkpoint.state.safe_open", refuse)
    mapped = read_file(path)
    assert mapped.keys() == known.keys()
    for name, tensor in known.items():
        assert mapped[name].dtype == tensor.dtype
        assert torch.equal(mapped[name].double(), tensor.double())
    mapped["a"].mul_(0)  # in this process alone
    assert torch.equal(read_file(path)["a"], tensors["a"])


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux counts mappings")
def test_a_mapping_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    size = 4 * psutil.virtual_memory().total
    with path.open("wb") as file:
        file.truncate(size)
    content = map_file(path)
    assert content.numel() == size and int(content[-1]) == 0
