"""`python -m wanvideo models convert IN OUT --quantization MODE`: a checkpoint in another format."""

import argparse
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.hardware import probe_hardware
from wanvideo.progress_bar import Progress
from wanvideo.registry import quantization_modes, resolve
from wanvideo.request import ProgressEvent


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What `models` takes beside the flags of every command."""
    parser.add_argument("action", choices=["convert"], help="write a checkpoint in another format")
    parser.add_argument("source", type=Path, metavar="IN", help="a model file, or a folder with one model")
    parser.add_argument("output", type=Path, metavar="OUT", help="the .safetensors file to write")
    modes = ", ".join(quantization_modes())
    parser.add_argument("--quantization", required=True, metavar="MODE", help=f"one of {modes}")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run_models(arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Convert; returns what was made: output, bytes, and the mode. Raises UserError."""
    mode = resolve(quantization_modes(), arguments.quantization, "quantization")
    source = inspect_checkpoint(arguments.source)
    progress(ProgressEvent(stage="convert", message=f"{source.path.name} to {mode.name}"))
    from wanvideo.checkpoint.convert import Conversion, convert  # loads torch

    job = Conversion(
        source=source,
        output=arguments.output,
        mode=mode,
        device=probe_hardware().device,
        overwrite=arguments.overwrite,
    )
    convert(job, lambda done, total: progress(ProgressEvent(stage="convert", step=done, steps=total)))
    size = arguments.output.stat().st_size
    return {"output": str(arguments.output), "bytes": size, "source_bytes": source.bytes, "mode": mode.name}
