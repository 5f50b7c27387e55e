"""Prompts kept on disk: what is encoded, what is read back, what is thrown away."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny_models import write_tiny_models
from wanvideo import prompt_cache
from wanvideo.cache_folder import VARIABLE, cache_folder
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.prepare import prepare
from wanvideo.prompt_cache import FOLDER, cached_prompts, prompt_key
from wanvideo.request import read_options, read_request


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return cache_folder(FOLDER)


class Encoder:
    """Random rows, other ones for each call; remembers what it was asked."""

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        self.asked: list[list[str]] = []
        self.dtype = dtype

    def __call__(self, prompts: list[str]) -> dict[str, Tensor]:
        self.asked.append(prompts)
        return {prompt: torch.randn(len(prompt), 8).to(self.dtype) for prompt in prompts}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_was_encoded_comes_back_bit_by_bit_and_only_the_rest_is_encoded(dtype: torch.dtype) -> None:
    encode = Encoder(dtype)
    first = cached_prompts(["a cat", "a dog", "a cat"], "key", encode)
    again = cached_prompts(["a bird", "a dog"], "key", encode)
    last = cached_prompts(["a cat", "a dog", "a bird"], "key", encode)
    assert encode.asked == [["a cat", "a dog"], ["a bird"]]
    assert list(last) == ["a cat", "a dog", "a bird"]
    for prompt, rows in {**first, **again}.items():
        assert last[prompt].dtype == dtype and torch.equal(last[prompt], rows)


def test_only_what_the_encoder_sees_of_a_prompt_counts() -> None:
    encode = Encoder()
    rows = cached_prompts(["a  cat\n"], "key", encode)["a  cat\n"]
    assert torch.equal(cached_prompts(["a cat"], "key", encode)["a cat"], rows)
    cached_prompts(["A cat"], "key", encode)
    cached_prompts(["a cat"], "another key", encode)
    assert encode.asked == [["a  cat\n"], ["A cat"], ["a cat"]]


def test_a_key_follows_the_files_and_how_they_are_run(tmp_path: Path) -> None:
    files = [tmp_path / "encoder", tmp_path / "tokenizer"]
    for file in files:
        file.write_bytes(b"weights")
    keys = [prompt_key(files, "bf16"), prompt_key(files, "fp16"), prompt_key(files[:1], "bf16")]
    for file in files:
        os.utime(file, (1, 1))
        keys.append(prompt_key(files, "bf16"))
        file.write_bytes(b"other weights")
        os.utime(file, (1, 1))
        keys.append(prompt_key(files, "bf16"))
    assert len(set(keys)) == len(keys) and prompt_key(files, "bf16") == keys[-1]


def flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda _: b"", lambda c: c[: len(c) // 2], flip_last, lambda c: c[8:]])
def test_a_damaged_file_is_made_again(
    damage: Callable[[bytes], bytes], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encode = Encoder()
    cached_prompts(["a cat"], "key", encode)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    rows = cached_prompts(["a cat"], "key", encode)["a cat"]
    assert len(encode.asked) == 2 and "encoded again" in caplog.text
    assert torch.equal(cached_prompts(["a cat"], "key", encode)["a cat"], rows) and len(encode.asked) == 2


def test_a_fault_of_the_encoder_is_not_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = cached_prompts(["a cat"], "key", lambda _: {"a cat": torch.full((2, 2), torch.nan)})
    assert rows["a cat"].isnan().all() and "not kept" in caplog.text
    assert not folder.exists()


def test_the_prompts_used_longest_ago_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Encoder()
    for age, prompt in enumerate(("one", "two", "six"), start=1):
        cached_prompts([prompt], "key", encode)
        for file in folder.iterdir():
            os.utime(file, (file.stat().st_mtime - 100 * age,) * 2)
    cached_prompts(["one"], "key", encode)
    size = sum(file.stat().st_size for file in folder.iterdir())
    monkeypatch.setattr(prompt_cache, "MOST_BYTES", size)
    cached_prompts(["ten"], "key", encode)
    assert len(list(folder.iterdir())) == 3
    encode.asked.clear()
    cached_prompts(["one", "two", "six", "ten"], "key", encode)
    assert encode.asked == [["two"]]


def test_a_folder_that_cannot_be_written_is_no_fault(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.parent.mkdir()
    folder.write_text("a file stands in the way")
    assert cached_prompts(["a cat"], "key", Encoder())["a cat"].shape == (5, 8)
    assert "can't be kept" in caplog.text


def test_a_second_job_with_the_same_words_does_not_load_the_text_encoder(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = write_tiny_models(tmp_path / "models")
    options = read_options({"models_dir": str(models)})
    asked = {"task": "text_to_video", "model": "tiny_t2v", "seed": 1, "num_frames": 5}

    def words(prompt: str, name: str) -> tuple[list[str], np.ndarray]:
        (plan,) = prepare(read_request({**asked, "prompt": prompt}), options, tmp_path / name)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            made = generate(plan, ModelCache())
        lines = [line for line in caplog.messages if "text encoder" in line or "prompts" in line]
        return lines, np.stack(list(read_frames(str(made.output), 16.0)))

    first, video = words("a red ball", "a.mp4")
    assert first[0] == "[LOAD] Loading text encoder..."
    assert len(list(folder.iterdir())) == 2, "the prompt and the negative prompt"
    second, again = words("a red ball", "b.mp4")
    assert second == ["[CACHE] Using cached prompts"] and np.array_equal(video, again)
    other, _ = words("a blue ball", "c.mp4")
    assert other[0] == "[LOAD] Loading text encoder..." and len(list(folder.iterdir())) == 3
