"""The guides: what they quote is what the program says, every page has its twin, and their code runs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_tiny_models
from ui.texts import SENTENCES
from wanvideo.downloads.catalog import FILES
from wanvideo.downloads.recipes import RECIPES
from wanvideo.media.probe import probe_video
from wanvideo.registry import attention_backends, quantization_modes

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
ENGLISH = [page for page in GUIDES if not page.stem.endswith("_zh")]
DIFFERS = "…"  # in a quoted message, and where a sentence of the code has a value


def sentences(path: Path) -> Iterator[str]:
    """Every string of a module; what is filled in becomes DIFFERS."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(p.value if isinstance(p, ast.Constant) else DIFFERS for p in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield re.sub(r"%[sd]|\{\w+\}", DIFFERS, node.value)


@pytest.fixture(scope="module")
def said() -> list[str]:
    files = [ROOT / "app.py", *(ROOT / "wanvideo").rglob("*.py"), *(ROOT / "ui").rglob("*.py")]
    texts = [re.sub(r"\{\w+\}", DIFFERS, text) for words in SENTENCES.values() for text in words.values()]
    return [*texts, *(sentence for file in files for sentence in sentences(file))]


def quoted(page: Path) -> list[str]:
    """The headings that are a message."""
    return re.findall(r"^### `(.+)`$", page.read_text("utf-8"), re.MULTILINE)


def is_said(message: str, said: list[str]) -> bool:
    pieces = map(re.escape, filter(None, message.split(DIFFERS)))
    pattern = re.compile(".*".join(pieces), re.DOTALL)
    return any(pattern.search(sentence) for sentence in said)


def test_every_quoted_message_is_one_of_the_program(said: list[str]) -> None:
    messages = quoted(ROOT / "docs/guides/troubleshooting.md")
    assert len(messages) > 40
    assert [message for message in messages if not is_said(message, said)] == []
    assert not is_said("no program … says this", said) and not is_said("of … blocks were swapped", said)


def test_every_guide_has_a_chinese_twin_of_the_same_build() -> None:
    assert {page.stem for page in ENGLISH} == {
        "first_steps",
        "modes_and_cards",
        "troubleshooting",
        "contiguity",
    }
    for page in ENGLISH:
        twin = page.with_stem(f"{page.stem}_zh")
        texts = [place.read_text("utf-8") for place in (page, twin)]
        assert quoted(page) == quoted(twin)
        for pattern in (r"^#+ ", r"^\|", r"^```", r"^\d\. "):
            counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in texts]
            assert counts[0] == counts[1], (page.name, pattern)
        assert f"({twin.name})" in texts[0] and f"({page.name})" in texts[1]
        assert len(re.findall(r"[\u4e00-\u9fff]", texts[1])) > 200


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_what_a_guide_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    files = [ROOT / name for name in re.findall(r"`((?:wanvideo|docs|tools)/[\w./]+\.\w+)`", text)]
    assert not [place for place in links + files if not place.exists()]
    downloads = set(re.findall(r"models download ([a-z0-9.-]+)", text))
    assert downloads <= {*RECIPES, *FILES}
    if page.stem.startswith("modes"):
        for name in (*attention_backends(), *quantization_modes()):
            assert f"`{name}`" in text or name == "fp8_e5m2_fast" or name.startswith("fp8_e5m2_scaled"), name


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_engine_s_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_models(tmp_path / "my_models")
    monkeypatch.chdir(tmp_path)
    make, stop, _ = python_blocks(ROOT / "docs/python_api.md")
    request = '"a red ball bounces"'
    assert request in make
    names: dict[str, Any] = {}
    exec(make.replace(request, f'{request}, "model": "tiny_t2v"'), names)
    videos = sorted((tmp_path / "my_videos").glob("*.mp4"))
    assert len(videos) == 2 and probe_video(videos[0]).frames == 9
    assert "quantization" in capsys.readouterr().out
    exec(stop.replace("event.window == 1", "event.step == 1"), names)
    assert "None" in capsys.readouterr().out, "no window was finished"
