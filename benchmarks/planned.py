"""A plan for the 14B model, as the application makes it, from headers alone."""

from typing import Any

from benchmarks.forwards import DENSE, EXACT
from benchmarks.header_files import write_headers
from benchmarks.random_files import write_files
from benchmarks.random_sizes import ENCODERS
from benchmarks.target_row import Bench
from wanvideo.options import COMPILE_OFF
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import TEXT_TO_VIDEO, RuntimeOptions, read_request

HEADERS = "headers"
MODEL = "t2v_14b"
SIZE, TINY_SIZE = (832, 480, 81), (64, 64, 9)


def planned(bench: Bench, *real: str, compile: str = COMPILE_OFF, **asked: Any) -> GenerationPlan:
    """Text to video at 832 x 480, 81 frames, in bf16 with exact attention. Files named in `real` have
    weights.
    """
    folder = bench.files / "_".join((HEADERS, *real))
    write_files(real, folder, DENSE, quick=bench.quick)
    paths = write_headers([MODEL, *ENCODERS], folder, quick=bench.quick)
    width, height, frames = TINY_SIZE if bench.quick else SIZE
    size = {"width": width, "height": height, "num_frames": frames}
    request = read_request(
        {"task": TEXT_TO_VIDEO, "model": paths[MODEL].stem, "prompt": "a cat", "seed": 1, **size, **asked}
    )
    options = RuntimeOptions(
        models_dir=str(folder),
        output_dir=str(folder),
        attention=EXACT.name,
        quantization=DENSE,
        compile=compile,
    )
    return prepare(request, options, machine=bench.machine)[0]
