"""What the documents name is there, and what is there is named."""

import re
from pathlib import Path

import pytest

from wanvideo.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "models/pocket/README.md"]


def test_every_room_stands_in_the_architecture_page() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    rooms = {path.stem for path in (ROOT / "wanvideo").iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__", "__main__", "__pycache__"}
    assert len(rooms) > 20
    assert not [room for room in sorted(rooms) if f"`{room}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:wanvideo|tools|tests|presets|docs|examples)/[\w./-]+\.\w+)`", text)
    places = [page.parent / link for link in links] + [ROOT / name for name in named]
    assert not [place for place in places if not place.exists()]


def test_readme_offers_only_commands_there_are() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    offered = set(re.findall(r"^(?:\./start\.sh|python -m wanvideo) (\w+)", text, re.MULTILINE))
    assert {"demo", "generate", "plan"} <= offered
    assert offered <= {*COMMANDS, "test"}
