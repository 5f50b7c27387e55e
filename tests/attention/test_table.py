"""The table of backends: the contract of names, what each needs, and the order of the automatic choice."""

from collections.abc import Iterator

import pytest

from wanvideo.attention import providers
from wanvideo.hardware import Gpu, Hardware
from wanvideo.registry import attention_backends, resolve

# name: (fallback, least compute capability, None for any machine), from the option contract
NEEDS: dict[str, tuple[str | None, tuple[int, int] | None]] = {
    "sdpa": (None, None),
    "flash_attn_2": ("sdpa", (8, 0)),
    "flash_attn_3": ("flash_attn_2", (9, 0)),
    "flash_attn_4": ("flash_attn_3", (8, 0)),
    "sageattn": ("flash_attn_2", (7, 5)),
    "sageattn_3": ("sageattn_3_fp8", (10, 0)),
    "sageattn_3_fp4": ("sageattn_3_fp8", (10, 0)),
    "sageattn_3_fp8": ("sageattn", (8, 9)),
    "radial_sage_attention": ("sageattn", (8, 0)),
    "xformers": ("sdpa", (7, 5)),
}
CAPABILITIES = [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]
TABLE = attention_backends()


def machine(capability: tuple[int, int] | None) -> Hardware:
    card = {"name": "", "total_bytes": 1, "free_bytes": 1, "driver": ""}
    cards = () if capability is None else (Gpu(compute_capability=capability, **card),)  # type: ignore[arg-type]
    return Hardware(gpus=cards, cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")


def yes(*_: str) -> bool:
    return True


def no(*_: str) -> bool:
    return False


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "is_installed", yes)
    monkeypatch.setattr(providers, "offers", yes)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "is_installed", no)
    monkeypatch.setattr(providers, "offers", no)


def test_names_and_fallbacks_are_the_contract() -> None:
    assert {name: row.fallback for name, row in TABLE.items()} == {
        name: fallback for name, (fallback, _) in NEEDS.items()
    }
    assert resolve(TABLE, "flash_attn", "attention").name == "flash_attn_2"
    assert [alias for row in TABLE.values() for alias in row.aliases] == ["flash_attn"]


def chain(name: str | None) -> Iterator[str]:
    while name is not None:
        yield name
        name = TABLE[name].fallback


@pytest.mark.parametrize("name", TABLE)
def test_fallbacks_end_at_exact_attention(name: str) -> None:
    names = []
    for step in chain(name):
        assert step not in names
        names.append(step)
    assert names[-1] == "sdpa"


@pytest.mark.usefixtures("everything_installed")
@pytest.mark.parametrize("capability", [None, *CAPABILITIES])
@pytest.mark.parametrize("name", TABLE)
def test_card_decides(name: str, capability: tuple[int, int] | None) -> None:
    least = NEEDS[name][1]
    usable = least is None or (capability is not None and capability >= least)
    if name == "flash_attn_3":
        usable = capability == (9, 0)
    reason = TABLE[name].unavailable_reason(machine(capability))
    assert (reason is None) == usable
    if reason is not None:
        assert "compute capability " + ".".join(map(str, least or ())) in reason


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("name", [name for name, (_, least) in NEEDS.items() if least])
def test_absent_package_is_named(name: str) -> None:
    reason = TABLE[name].unavailable_reason(machine((9, 0) if name == "flash_attn_3" else (12, 0)))
    assert reason is not None and reason.startswith("package not installed: ")


def automatic(capability: tuple[int, int] | None) -> list[str]:
    """What the automatic choice tries, down to the backend that always runs."""
    usable = [row for row in TABLE.values() if row.unavailable_reason(machine(capability)) is None]
    return [row.name for row in usable if row.priority >= 0]


@pytest.mark.usefixtures("everything_installed")
@pytest.mark.parametrize(
    ("capability", "order"),
    [
        (None, "sdpa"),
        ((7, 0), "sdpa"),
        ((7, 5), "sageattn sdpa"),
        ((8, 0), "sageattn flash_attn_4 flash_attn_2 sdpa"),
        ((8, 6), "sageattn flash_attn_4 flash_attn_2 sdpa"),
        ((8, 9), "sageattn_3_fp8 sageattn flash_attn_4 flash_attn_2 sdpa"),
        ((9, 0), "sageattn_3_fp8 sageattn flash_attn_4 flash_attn_3 flash_attn_2 sdpa"),
        ((12, 0), "sageattn_3 sageattn_3_fp8 sageattn flash_attn_4 flash_attn_2 sdpa"),
    ],
)
def test_order_of_the_automatic_choice(capability: tuple[int, int] | None, order: str) -> None:
    assert automatic(capability) == order.split()


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_without_packages_exact_attention_runs(capability: tuple[int, int]) -> None:
    assert automatic(capability) == ["sdpa"]
