"""Plans and machines in plain words."""

import pytest

from tests.plan_cases import CPU, GPU, STILL, plan
from wanvideo.request import TASKS
from wanvideo.wording import describe_machine, describe_plan, model_files


@pytest.mark.parametrize("task", TASKS)
def test_plan_is_told_in_words_and_as_data(task: str) -> None:
    made = plan({"task": task, "image": "a.png"}, STILL)
    words = dict(describe_plan(made))
    effective = made.effective()
    assert words["size"] == f"{made.width} x {made.height} pixels"
    assert words["seed"] == "7"
    assert str(effective["sampler"]) in words["sampler"]
    assert {"quantization", "attention", "num_inference_steps", "windows", "seed"} <= effective.keys()
    assert None not in effective.values() and "auto" not in effective.values()
    assert [file["component"] for file in model_files(made)] == ["transformer", "vae", "text_encoder"]


def test_machine_is_told_in_words() -> None:
    assert "no NVIDIA card" in "\n".join(describe_machine(CPU))
    assert "RTX 4090, sm 8.9, 24 GiB, driver 580.1" in list(describe_machine(GPU))
