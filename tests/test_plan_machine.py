"""What the planner decides from the machine and the options."""

import pytest

from tests.plan_cases import CPU, GPU, TEXT, plan
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.registry import attention_backends


@pytest.mark.parametrize(
    ("machine", "asked", "device", "dtype"),
    [
        (CPU, "auto", "cpu", "fp32"),
        (GPU, "auto", "cuda", "bf16"),
        (CPU, "bf16", "cpu", "bf16"),
        (CPU, "bf16_fast", "cpu", "bf16"),
        (GPU, "fp16", "cuda", "fp16"),
        (GPU, "fp32", "cuda", "fp32"),
    ],
)
def test_device_and_dtype_follow_the_machine(machine: Hardware, asked: str, device: str, dtype: str) -> None:
    made = plan(TEXT, machine=machine, options={"base_precision": asked})
    assert (made.device, made.dtype) == (device, dtype)


def test_automatic_modes_are_the_first_usable_ones() -> None:
    made = plan(TEXT)
    usable = [name for name, row in attention_backends().items() if row.unavailable_reason(CPU) is None]
    assert made.attention == usable[0]
    assert made.notes == ()


@pytest.mark.parametrize("option", ["attention", "quantization"])
def test_unknown_mode_lists_the_names(option: str) -> None:
    with pytest.raises(UserError, match=f"unknown {option}, got 'nf4'; allowed: .*(sdpa|disabled)"):
        plan(TEXT, options={option: "nf4"})
