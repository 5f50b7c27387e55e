"""The tables made of folders, their contracts, and the way down a fallback chain."""

import logging
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import wanvideo.attention
import wanvideo.quantization
from wanvideo.attention.sdpa import attend
from wanvideo.errors import UserError
from wanvideo.fallback import choose
from wanvideo.hardware import Gpu, Hardware, probe_hardware
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import (
    AttentionBackend,
    AttentionPlace,
    QuantizationMode,
    _discover,
    attention_backends,
    quantization_modes,
    resolve,
)

CARD = Gpu(name="RTX 4090", compute_capability=(8, 9), total_bytes=1, free_bytes=1, driver="580")
CPU = Hardware(gpus=(), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
GPU = Hardware(gpus=(CARD,), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
TABLES: list[Any] = [attention_backends(), quantization_modes()]
OPTIONS = [row for table in TABLES for row in table.values()]


def needs_card(hardware: Hardware) -> str | None:
    return None if hardware.gpus else "no NVIDIA card"


def never(_: Hardware) -> str | None:
    return "its package is not installed"


def always(_: Hardware) -> str | None:
    return None


def backend(
    name: str, reason: Callable[[Hardware], str | None], fallback: str | None, *aliases: str
) -> AttentionBackend:
    return AttentionBackend(
        name=name,
        label=name,
        aliases=aliases,
        priority=0,
        fallback=fallback,
        unavailable_reason=reason,
        load=lambda _: attend,
    )


CHAIN = {
    row.name: row
    for row in (
        backend("best", never, "good"),
        backend("good", needs_card, "exact", "fine"),
        backend("lonely", never, None),
        backend("exact", always, None),
    )
}

CHOSEN = [
    ("auto", CPU, "exact", []),
    ("auto", GPU, "good", []),
    ("exact", CPU, "exact", []),
    ("fine", GPU, "good", []),
    ("fine", CPU, "exact", ["good: no NVIDIA card; exact runs instead"]),
    ("best", GPU, "good", ["best: its package is not installed; good runs instead"]),
    (
        "best",
        CPU,
        "exact",
        ["best: its package is not installed; good runs instead", "good: no NVIDIA card; exact runs instead"],
    ),
]


@pytest.mark.parametrize(("asked", "machine", "expected", "notes"), CHOSEN)
def test_choice_goes_down_the_fallbacks_and_says_so(
    asked: str, machine: Hardware, expected: str, notes: list[str]
) -> None:
    told: list[str] = []
    assert choose(CHAIN, asked, "attention", machine, False, told).name == expected
    assert told == notes


@pytest.mark.parametrize(
    ("asked", "strict"), [("fine", True), ("best", True), ("lonely", True), ("lonely", False)]
)
def test_what_must_not_or_cannot_fall_back_is_refused(asked: str, strict: bool) -> None:
    with pytest.raises(UserError, match=r"^attention (good|best|lonely) can't run here: "):
        choose(CHAIN, asked, "attention", CPU, strict, [])


def test_strict_does_not_mind_what_can_run() -> None:
    assert choose(CHAIN, "fine", "attention", GPU, True, []).name == "good"


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_fallback_chain_ends_at_an_option_that_always_runs(row: Any) -> None:
    table = next(table for table in TABLES if row.name in table)
    seen = [row]
    while seen[-1].fallback is not None:
        seen.append(table[seen[-1].fallback])
        assert len(seen) <= len(table), "the chain is a circle"
    assert seen[-1].unavailable_reason(CPU) is None


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_option_is_found_by_each_of_its_names(row: Any) -> None:
    table = next(table for table in TABLES if row.name in table)
    for name in (row.name, *row.aliases):
        assert resolve(table, name, "option") is row
    reason = row.unavailable_reason(CPU)
    assert row.label and (reason is None or (len(reason) > 10 and "\n" not in reason))


def test_unknown_option_lists_the_names() -> None:
    with pytest.raises(UserError, match="unknown attention, got 'x'; allowed: best, exact, good, lonely"):
        resolve(CHAIN, "x", "attention")


def test_exact_options_are_there_and_exact() -> None:
    assert attention_backends()["sdpa"].unavailable_reason(CPU) is None
    weight, bias = torch.randn(3, 4), torch.randn(3)
    stored = StoredWeight(format="dense", tensors={"weight": weight}, shape=(3, 4))
    linear = quantization_modes()["disabled"].make_linear(stored, bias, torch.float32)
    assert type(linear) is torch.nn.Linear
    assert torch.equal(linear.weight, weight) and torch.equal(linear.bias, bias)
    query, key, value = torch.randn(3, 2, 5, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / 8**0.5
    expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)
    exact = attention_backends()["sdpa"].load(AttentionPlace(frames=1, frame_tokens=5))
    torch.testing.assert_close(exact(query, key, value), expected)


BROKEN = {
    "no constant": ({"a": ""}, TypeError, "options.a must define BACKENDS as a tuple of AttentionBackend"),
    "no row": ({"a": "BACKENDS = ()"}, TypeError, "must define BACKENDS"),
    "no tuple": (
        {"a": "from wanvideo.attention.sdpa import BACKENDS\nBACKENDS = BACKENDS[0]"},
        TypeError,
        "must define BACKENDS",
    ),
    "another kind": ({"a": "BACKENDS = ('sdpa',)"}, TypeError, "must define BACKENDS"),
    "a name twice": (
        dict.fromkeys(("a", "b"), "from wanvideo.attention.sdpa import BACKENDS"),
        ValueError,
        "a name or alias is taken twice",
    ),
}


@pytest.mark.parametrize(("files", "error", "text"), BROKEN.values(), ids=BROKEN)
def test_folder_that_breaks_the_contract_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], error: type[Exception], text: str
) -> None:
    package = tmp_path / "options"
    package.mkdir()
    for name, source in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(error, match=text):
            _discover("options", "BACKENDS", AttentionBackend)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "options"]:
            del sys.modules[name]


def test_support_files_have_no_rows() -> None:
    for package in (wanvideo.attention, wanvideo.quantization):
        assert set(package.SUPPORT) < {found.name for found in pkgutil.iter_modules(package.__path__)}


def test_tables_are_ordered_for_the_automatic_choice() -> None:
    priorities = [row.priority for row in attention_backends().values()]
    sizes = [row.bytes_per_weight for row in quantization_modes().values()]
    assert priorities == sorted(priorities, reverse=True)
    assert sizes == sorted(sizes, reverse=True)
    assert all(isinstance(row, QuantizationMode) for row in quantization_modes().values())


def test_this_machine_can_be_probed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        machine = probe_hardware()
    assert machine.cores >= 1
    assert 0 < machine.free_ram_bytes <= machine.ram_bytes
    assert machine.device == ("cuda" if machine.gpus else "cpu")
    assert not caplog.records
