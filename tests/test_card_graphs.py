"""Blocks compiled for a card are one graph with the row kernels in it; traced where there is no card."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import card_graphs
from tests.conftest import INTERPRETED

ROOT = Path(card_graphs.__file__).parents[1]
ROTATED = {"_norm_rotated": 2}  # query and key
# What two attentions give, and GELU.
DENSE, FP8 = {**ROTATED, "_norm_modulated": 1}, {**ROTATED, "_rows_to_fp8": 3, "_norm_modulated to fp8": 1}
WITH_LORA = {**ROTATED, "_rows_to_fp8": 3, "_norm_modulated": 1}  # a branch takes rows as they are


def test_kernels_of_a_block() -> None:
    """Each stands there so many times, whatever is joined; nothing breaks the graph."""
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {name: value for name, value in os.environ.items() if name != INTERPRETED}
    program = [sys.executable, "-m", card_graphs.__name__]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "disabled": DENSE,
        "disabled joined": DENSE,
        "fp8_e4m3fn_scaled_fast": FP8,
        "fp8_e4m3fn_scaled_fast LoRA": WITH_LORA,
        "fp8_e4m3fn_scaled_fast joined": FP8,
        "fp8_e4m3fn_scaled_fast joined LoRA": WITH_LORA,
        "fp4_scaled_fast": FP8,
        "fp4_scaled_fast joined": FP8,
    }
