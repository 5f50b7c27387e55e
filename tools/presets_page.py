"""Writes docs/presets.md from the files in presets/: `python -m tools.presets_page`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.lora_recipes import FEWEST_STEPS
from wanvideo.fallback import AUTO
from wanvideo.lora_plan import needed_file
from wanvideo.presets import PROJECT, Preset, list_presets
from wanvideo.request import TASKS

PAGE = PROJECT / "docs" / "presets.md"
TITLES = {
    "tier": "By memory of the card",
    "purpose": "By purpose",
    "card": "By card",
    "workflow": "Named settings",
    "demo": "Bundled model",
}
HEAD = """# Presets

Made from the files in `presets/` by `python -m tools.presets_page`; a test compares them.

A preset fills in what it names and leaves the rest. On the page they stand at the top of Model Settings, with
the one for this machine first; on the command line it is `--preset NAME`, and flags go before it. Fewer than
{fewest} steps are made for a step-distilled file, which is named; without it the plan warns.
"""


def presets_page() -> str:
    """The page as text."""
    presets = list_presets()
    parts = [HEAD.format(fewest=FEWEST_STEPS)]
    for group, title in TITLES.items():
        parts.append(f"## {title}\n")
        members = [preset for preset in presets if preset.group == group]
        parts += ["\n".join(_section(preset)) for preset in sorted(members, key=lambda one: one.tier or 0)]
    return "\n".join(parts)


def _section(preset: Preset) -> Iterator[str]:
    yield f"### {preset.label} (`{preset.name}`)\n"
    yield f"{preset.description}{f' {preset.hint}' if preset.hint else ''}\n"
    if preset.request:
        yield f"- request: {_settings(preset.request)}"
    for task, part in preset.tasks.items():
        yield f"- {task}: {_settings(part) or 'as above'}"
    if preset.options:
        yield f"- options: {_settings(preset.options)}"
    yield from _needed_files(preset)
    yield ""


def _needed_files(preset: Preset) -> Iterator[str]:
    for task in filter(preset.is_for, TASKS):
        steps = preset.named(task).get("num_inference_steps")
        if file := needed_file(task, steps):
            yield f"- {task} in {steps} steps needs `{file.file_name}` (`models download {file.name}`)"


def _settings(values: Mapping[str, Any]) -> str:
    """The fields that are set, then those that are put back to automatic."""
    automatic = [name for name, value in values.items() if value in (None, AUTO)]
    given = [f"{name} {_words(value)}" for name, value in values.items() if name not in automatic]
    return ", ".join(given) + (f"; automatic: {', '.join(automatic)}" if automatic else "")


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " and ".join(map(_words, value))
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).relative_to(PROJECT).as_posix()
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(presets_page(), encoding="utf-8")
