"""Several processes train one model: gradients meet, clocks agree, batches keep their size."""

import socket
from pathlib import Path

import pytest
import torch
from torch import multiprocessing, nn

from tools.pocket.conditions import PocketModel
from tools.pocket.parallel import GradientSum, SharedClock, Worker, join_workers
from tools.pocket.shards import FORMATS
from tools.pocket.train_transformer import batch_size, contributors, text_length, trained


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def one_process(rank: int, port: int, folder: str) -> None:
    """Both processes train `shared`; process 1 alone has a gradient for `own`."""
    import os

    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    worker = join_workers(torch.device("cpu"))
    shared, own = nn.Parameter(torch.full((3,), float(rank))), nn.Parameter(torch.zeros(2))
    worker.share([shared])
    gradients = GradientSum(worker, [shared, own], [2, 1])
    for step in (1.0, 2.0):
        gradients.clear()
        loss = step * (rank + 1) * shared.sum() + (7 * own.sum() if rank == 1 else 0.0)
        loss.backward()
        gradients.add_up()
    clock = SharedClock(worker, torch.device("cpu"))
    clock.tick()
    assert shared.grad is not None and own.grad is not None
    torch.save(
        {"shared": shared.data, "grads": (shared.grad, own.grad), "now": clock()}, Path(folder) / f"{rank}.pt"
    )
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    multiprocessing.spawn(one_process, (free_port(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(second["shared"], torch.zeros(3))  # those of process 0
    for result in (first, second):
        assert torch.equal(result["grads"][0], torch.full((3,), 3.0))  # the mean of 2 and 4
        assert torch.equal(result["grads"][1], torch.full((2,), 7.0))  # not halved: one process has it
    assert first["now"] == second["now"]


def test_one_process_is_left_alone() -> None:
    worker = join_workers(torch.device("cpu"))
    parameter = nn.Parameter(torch.ones(2))
    gradients = GradientSum(worker, [parameter], [1])
    parameter.sum().backward()
    gradients.add_up()
    assert worker == Worker() and parameter.grad is not None and torch.equal(parameter.grad, torch.ones(2))
    gradients.clear()
    assert parameter.grad is None


@pytest.mark.parametrize(("count", "text", "rest"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 2)])
def test_contributors_follow_the_focus_of_processes(count: int, text: int, rest: int) -> None:
    model = PocketModel()
    counts = contributors(model, Worker(count=count))
    assert len(counts) == len(trained(model))
    by_part: dict[str, set[int]] = {}
    for (name, _), contributing in zip(model.named_parameters(), counts, strict=True):
        by_part.setdefault(name.split(".")[0], set()).add(contributing)
    assert by_part == {"t2v": {text}, "i2v": {rest}, "image": {rest}, "text": {count}}


def test_batches_of_every_format_have_about_as_many_tokens() -> None:
    assert batch_size(32, FORMATS["native"]) == 32
    assert batch_size(32, FORMATS["native"], 1) == 288
    for form in FORMATS.values():
        tokens = batch_size(32, form) * ((form.frames - 1) // 4 + 1) * (form.size // 16) ** 2
        assert tokens == pytest.approx(32 * 9 * 144, rel=0.08)


def test_text_training_goes_from_pictures_to_clips() -> None:
    assert [text_length(progress) for progress in (0.0, 0.29, 0.35, 0.5, 1.0)] == [1, 1, 3, None, None]
