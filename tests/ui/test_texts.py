"""The sentences of the page: all there, none left over, the same in both languages; no English on the Chinese
page, and Chinese for what the engine says.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.test_guides import DIFFERS, sentences
from tests.ui.test_fields import CARD, CPU
from ui.fields import TABLE, label_of
from ui.language import ENGLISH, LANGUAGES, speaking
from ui.model_settings import machine_line
from ui.page import build_page
from ui.presets import preset_words
from ui.texts import SENTENCES
from ui.texts.notes import in_language, in_parts, pairs
from wanvideo.downloads.recipes import RECIPES
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.jobs.store import JobStore
from wanvideo.presets import list_presets
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.sampling.samplers import SAMPLERS

ROOT = Path(__file__).parents[2]
WORDS = SENTENCES[ENGLISH]
OTHERS = [language for language in LANGUAGES if language != ENGLISH]
# Where English has its words elsewhere: in a row of the engine, in a recipe, or in the name itself.
OF_ROWS = ("label_", "help_", "attention_", "quantization_", "sampler_", "part_", "plan_", "recipe_")
CHOICES = tuple(f"{row.name}_{choice}" for row in TABLE.values() for choice in row.choices)
NAMED = [*attention_backends().values(), *quantization_modes().values(), *SAMPLERS.values()]
# Keys that the code puts together.
MADE = (
    *(*OF_ROWS, *CHOICES),
    *("stage_", "state_", "task_", "prompt_", "source_note_", "needs_", "live_", "queued_", "audio_order_"),
    *("rms_norm_function_", "auto_int_", "load_device_", "vae_tiling_", "preset_group_", "forecast_"),
    *("queue_", "workflow_", "list_", "negative_"),
)
DTYPES = {f"base_precision_{name}" for name in ("bf16", "fp16", "fp16_fast", "fp32")}
DTYPES |= {f"vae_precision_{name}" for name in ("bf16", "fp16", "fp32")}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
WORD = re.compile(r"[A-Za-z]{2,}")
RUN = re.compile(r"(?:\b[a-z]{2,} ){3}[a-z]{2,}")  # four English words
# On the Chinese page as they are: names.
KEPT = {
    "Wan Video Studio",
    "English",
    "LoRA",
    "VAE",
    "InfiniteTalk",
    "TeaCache",
    "MagCache",
    "CPU",
    "bf16",
    "fp16",
    "fp16_fast",
    "fp32",
}
MACHINES = {"processor": CPU, "card": replace(CPU, gpus=(CARD,))}


def test_every_language_has_its_sentences() -> None:
    assert set(SENTENCES) == set(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_said_in_every_language(language: str) -> None:
    words = SENTENCES[language]
    assert not {key for key in WORDS if key not in words}
    assert not {key for key in words if key not in WORDS and not key.startswith(OF_ROWS)}
    for key in WORDS:
        assert _holes(words, key) == _holes(WORDS, key), key
        assert words[key].count("|") == WORDS[key].count("|"), key


def _holes(words: Mapping[str, str], key: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", words[key]))


def test_every_sentence_is_there_and_none_is_left_over() -> None:
    code = "\n".join(file.read_text("utf-8") for file in (ROOT / "ui").rglob("*.py"))
    asked = set(re.findall(r"""\bsay\(\s*["']([a-z_]+)["']""", code))
    assert asked <= set(WORDS)
    assert not {key for key in WORDS if key not in asked and not key.startswith(MADE)}


def test_every_stage_that_has_words_happens() -> None:
    engine = "\n".join(file.read_text("utf-8") for file in (ROOT / "wanvideo").glob("*.py"))
    worded = {key.removeprefix("stage_") for key in WORDS if key.startswith("stage_")}
    entered = set(re.findall(r"""\b[a-z_]+\("([a-z]+)"\)""", engine))
    assert worded - entered == {"prepare"}, "prepare is what the page shows before the first stage"


@pytest.mark.parametrize("language", OTHERS)
def test_every_field_choice_and_mode_has_its_words(language: str) -> None:
    words = SENTENCES[language]
    for row in TABLE.values():
        for key, english in ((f"label_{row.name}", row.label), (f"help_{row.name}", row.help)):
            assert key in words and (CHINESE.search(words[key]) or words[key] == english), key
    assert not {key for key in CHOICES if key not in words} - DTYPES
    with speaking(language):
        for row in NAMED:
            assert CHINESE.search(label_of(row)) or label_of(row) == row.label, row.name
    names = {key for key in words if key.startswith(("attention_", "quantization_", "sampler_"))}
    known = {f"{kind}_{row.name}" for row in NAMED for kind in ("attention", "quantization", "sampler")}
    assert names <= known, "of a mode that is gone"


@pytest.mark.parametrize("language", OTHERS)
def test_what_a_plan_and_the_presets_and_recipes_say_has_its_words(language: str) -> None:
    words = SENTENCES[language]
    told = (ROOT / "wanvideo/wording.py").read_text("utf-8").partition("def _memory")[0]
    subjects = set(re.findall(r'yield "([a-z ]+)", ', told))
    assert subjects == {
        key.removeprefix("plan_") for key in words if key.startswith("plan_") and key not in WORDS
    }
    recipes = {f"recipe_{name}" for name in RECIPES}
    recipes |= {f"recipe_note_{name}" for name, recipe in RECIPES.items() if recipe.note}
    assert recipes == {key for key in words if key.startswith("recipe_")}
    for preset in list_presets():
        english = {"label": preset.label, "description": preset.description, "hint": preset.hint}
        assert preset.words[language].keys() == {part for part, text in english.items() if text}, preset.name
        assert CHINESE.search(preset.words[language]["description"])
        with speaking(language):
            assert preset_words(preset)["label"] == preset.words[language]["label"]
        assert preset_words(preset)["label"] == preset.label


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Every string of the engine, a text for each module."""
    return ["\n".join(sentences(file)) for file in (ROOT / "wanvideo").rglob("*.py")]


@pytest.mark.parametrize("language", OTHERS)
def test_every_note_with_a_pair_is_one_of_the_engine(language: str, modules: list[str]) -> None:
    for sentence, words in pairs(language).items():
        pieces = [piece.strip() for piece in sentence.split(DIFFERS) if piece.strip()]
        assert any(all(piece in module for piece in pieces) for module in modules), sentence
        holes = {int(hole) for hole in re.findall(r"\{(\d)\}", words)}
        assert not holes or max(holes) < sentence.count(DIFFERS), sentence


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("memory is short: 12 of 40 blocks are swapped", "显存不足：40 块中的 12 块放在内存里交换"),
        (
            "sageattn: package not installed: sage; sdpa runs instead",
            "sageattn：未安装软件包：sage；改用 sdpa",
        ),
        ("sageattn: package not installed: sage", "sageattn：未安装软件包：sage"),
        ("fps has no effect in talk", "“帧率”在“说话”任务中不起作用"),
        ("nobody says this: at all", "nobody says this: at all"),
    ],
)
def test_a_note_is_read_with_what_is_filled_in(english: str, chinese: str) -> None:
    assert in_language(english) == english
    with speaking("zh"):
        assert in_language(english) == chinese


def test_an_error_and_a_line_of_parts_are_read_piece_by_piece() -> None:
    error = UserError("fps is out of range", value=500, allowed="1 to 120", fix="Choose auto.")
    with speaking("zh"):
        assert in_language(str(error)) == "“帧率”超出范围，当前为 500；可用：1 到 120。请选“自动”。"
        assert in_parts("fp8, 3 of 4 blocks swapped, tiled VAE") == "fp8，交换 4 块中的 3 块，VAE 分块"
    assert in_parts("fp8, tiled VAE") == "fp8, tiled VAE"


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_chinese_page_has_no_english_left(machine: Hardware, tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, machine)
    with speaking("zh"):
        components = [part for part in blocks.config["components"] if part["type"] != "api"]
        kept = KEPT | {row.name for row in NAMED} | {label_of(row) for row in NAMED}
        kept |= {f"{row.name} · {label_of(row)}" for row in NAMED} | {machine.cpu}
        kept |= {preset.words["zh"]["label"] for preset in list_presets()} | {
            "pocket_i2v",
            machine_line(machine),
        }
    prompts = {words for key, words in SENTENCES["zh"].items() if key.startswith("prompt_")}
    texts = {text for part in components for text in shown_texts(part)}
    assert len(texts) > 250
    english = {text for text in texts if WORD.search(text) and not CHINESE.search(text)}
    assert {text for text in english if text not in kept} == set()
    assert {text for text in texts - prompts if RUN.search(text)} == set()


def shown_texts(component: Mapping[str, Any]) -> Iterator[str]:
    """What a person reads of a component: its words and, of HTML, the texts between tags."""
    props = component["props"]
    found = [props.get(name) for name in ("label", "info", "placeholder")]
    found += [pair[0] for pair in props.get("choices") or ()]
    if component["type"] in ("html", "button", "downloadbutton", "markdown"):
        found.append(props.get("value"))
    for text in filter(None, found):
        bare = re.sub(r"<(style|script)\b.*?</\1>", "", str(text), flags=re.DOTALL)
        yield from filter(None, (piece.strip() for piece in re.split(r"<[^>]*>", bare)))
