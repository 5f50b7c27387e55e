"""The tables of known files and recipes: consistent, and made of settings that there are."""

import re
from pathlib import PurePosixPath

import pytest

from wanvideo.downloads.added_folders import KINDS
from wanvideo.downloads.catalog import FILES, TOKENIZER, KnownFile, Recipe, words_for_bytes
from wanvideo.downloads.recipes import RECIPES, files_of
from wanvideo.downloads.state import COMPONENTS
from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.registry import quantization_modes
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: file.name)
def test_a_known_file_has_a_place_and_a_kind(file: KnownFile) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", file.repository)
    assert not PurePosixPath(file.path).is_absolute() and ".." not in file.path
    assert file.folder.partition("/")[0] in KINDS, "so that an added folder of this layout is read"
    assert file.component in (*COMPONENTS, TOKENIZER)
    assert file.licence and file.bytes > 1_000_000
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.confirmed or file.sha256 is None, "a hash is certain or not there"


def test_names_on_disk_are_apart() -> None:
    places = [f"{file.folder}/{file.file_name}" for file in FILES.values()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_is_made_of_known_files_and_real_settings(recipe: Recipe) -> None:
    assert recipe.files and all(FILES[file.name] is file for file in recipe.files)
    assert recipe.bytes == sum(file.bytes for file in recipe.files) and recipe.licences
    files = {file.file_name for file in recipe.files}
    assert all(lora["file"] in files for lora in recipe.request.get("loras", ()))
    assert read_values(REQUEST_FIELDS, recipe.request).get("task") == recipe.task
    options = read_values(OPTION_FIELDS, recipe.options)
    assert options.get("quantization", "disabled") in quantization_modes()


def test_few_steps_come_with_the_file_that_makes_them_work() -> None:
    few = [recipe for recipe in RECIPES.values() if recipe.request.get("num_inference_steps", 40) < 10]
    assert few and all(recipe.request["loras"] for recipe in few)


def test_names_are_found_and_others_get_near_ones() -> None:
    assert files_of("vae") == (FILES["vae"],)
    assert files_of("text-1.3b") == RECIPES["text-1.3b"].files
    with pytest.raises(UserError, match="unknown download, got 'talk-480p'; allowed: talk-480p-"):
        files_of("talk-480p")
    with pytest.raises(UserError, match="melband"):
        files_of("zzz")


@pytest.mark.parametrize(("size", "words"), [(16_643_349_018, "16.6 GB"), (4_548_313, "4.5 MB")])
def test_sizes_in_words(size: int, words: str) -> None:
    assert words_for_bytes(size) == words
