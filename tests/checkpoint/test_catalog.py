"""Which files make up a model: nothing is replaced by a tiny one, and nothing is passed over in silence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoint.model_files import (
    ENCODERS,
    audio_layers,
    diffusion,
    write,
    write_encoders,
    write_gguf,
    write_pocket,
    write_shards,
)
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.checkpoint.folders import describe_folder, model_name, model_names
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO


@pytest.fixture
def pocket(tmp_path: Path) -> Path:
    return write_pocket(tmp_path / "pocket")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with every companion and the larger wan_i2v."""
    folder = tmp_path / "models"
    write_encoders(folder)
    write(folder / "wan_i2v.safetensors", diffusion(256))
    return folder


COMPANIONS = [
    (IMAGE_TO_VIDEO, "vae.safetensors", "VAE"),
    (IMAGE_TO_VIDEO, "umt5.safetensors", "text encoder (UMT5)"),
    (IMAGE_TO_VIDEO, "clip.safetensors", "image encoder (CLIP)"),
    (TALK, "wav2vec2.safetensors", "InfiniteTalk module and its speech encoder (wav2vec2)"),
    (IMAGE_TO_VIDEO, "spiece.model", "tokenizer"),
]


@pytest.mark.parametrize(("task", "missing", "named"), COMPANIONS)
def test_a_missing_companion_is_named_and_never_a_private_one(
    task: str, missing: str, named: str, models: Path, pocket: Path
) -> None:
    (models / missing).unlink()
    with pytest.raises(UserError) as caught:
        resolve_models(task, "wan_i2v", [models, pocket])
    assert named in str(caught.value)
    chosen = resolve_models(task, None, [models, pocket])
    assert chosen.profile.label == "Pocket"
    assert all(facts.path.parent == pocket for facts in chosen.checkpoints)
    assert len(chosen.passed_over) == 1 and named in chosen.passed_over[0]


def test_a_complete_set_keeps_to_its_own_side(models: Path, pocket: Path) -> None:
    for wanted, folder in ((None, models), ("tiny_i2v", pocket), ("pocket", pocket)):
        chosen = resolve_models(IMAGE_TO_VIDEO, wanted, [models, pocket])
        assert {facts.path.parent for facts in chosen.checkpoints} == {folder}
        assert chosen.tokenizer == folder / "spiece.model" and chosen.passed_over == ()
    for file in ("clip.safetensors", "umt5.safetensors"):
        (pocket / file).unlink()
    with pytest.raises(UserError, match=r"tiny_i2v lacks its text encoder \(UMT5\) and its image encoder"):
        resolve_models(IMAGE_TO_VIDEO, "tiny_i2v", [models, pocket])


def eight_bit_integers(folder: Path) -> Path:
    return write(folder / "wan_int8.safetensors", diffusion(256), "U8")


def truncated(folder: Path) -> Path:
    path = write(folder / "cut.safetensors", diffusion(256))
    path.write_bytes(path.read_bytes()[:-8])
    return path


def cut_gguf(folder: Path) -> Path:
    path = write_gguf(folder / "wan-i2v-Q8_0.gguf", b"wan")
    path.write_bytes(path.read_bytes()[:-3])
    return path


UNUSABLE: list[tuple[Callable[[Path], Path], str]] = [
    (eight_bit_integers, "weights of type U8"),
    (truncated, "incomplete"),
    (cut_gguf, "is a damaged GGUF file: it ends within its header"),
    (lambda folder: write(folder / "wan22.safetensors", diffusion(3072)), "Wan 2.2 5B"),
]


@pytest.mark.parametrize(("place", "sentence"), UNUSABLE)
def test_a_file_that_cannot_be_used_is_told(
    place: Callable[[Path], Path], sentence: str, tmp_path: Path, pocket: Path
) -> None:
    (tmp_path / "models").mkdir()
    path = place(tmp_path / "models")
    folders = [tmp_path / "models", pocket]
    chosen = resolve_models(IMAGE_TO_VIDEO, None, folders)
    assert chosen.profile.label == "Pocket" and len(chosen.passed_over) == 1
    assert path.name in chosen.passed_over[0] and sentence in chosen.passed_over[0]
    usable, refused = describe_folder(folders)
    assert len(usable) == 7 and [refusal.path for refusal in refused] == [path]
    for wanted in (path.stem, str(path)):
        with pytest.raises(UserError, match=sentence):
            resolve_models(IMAGE_TO_VIDEO, wanted, folders)
    assert resolve_models(IMAGE_TO_VIDEO, "tiny_i2v", folders).passed_over == ()


def test_what_is_no_model_of_this_task_is_not_told(tmp_path: Path, pocket: Path) -> None:
    folder = tmp_path / "models"
    write(folder / "style.safetensors", {"blocks.0.self_attn.q.lora_A.weight": [4, 4]})
    write(folder / "sd15.safetensors", {"model.layers.0.weight": [4, 4]}, "F8_E4M3")
    write(folder / "t2v_int8.safetensors", diffusion(256, image=False), "U8")
    write_gguf(folder / "llama.gguf", b"llama")
    (folder / "upscaler.pth").write_bytes(b"not of torch")
    assert resolve_models(IMAGE_TO_VIDEO, None, [folder, pocket]).passed_over == ()
    assert "t2v_int8" in resolve_models(TEXT_TO_VIDEO, None, [folder, pocket]).passed_over[0]
    usable, refused = describe_folder([folder])
    assert [facts.component for facts in usable] == ["lora"] and len(refused) == 4


def test_a_refused_companion_stands_beside_what_is_lacking(models: Path, pocket: Path) -> None:
    write(models / "talk_int8.safetensors", audio_layers(256), "U8")
    over = resolve_models(TALK, None, [models, pocket]).passed_over
    assert len(over) == 1 and "lacks its InfiniteTalk module (talk_int8.safetensors has" in over[0]


@pytest.fixture
def releases(models: Path) -> Path:
    """Two sharded releases with equal file names, each with its own encoders."""
    for tier in (480, 720):
        write_encoders(models / f"Wan2.1-I2V-14B-{tier}P")
        write_shards(models / f"Wan2.1-I2V-14B-{tier}P", diffusion(512))
    return models


def test_sharded_releases_have_the_names_of_their_folders(releases: Path) -> None:
    names = model_names(describe_folder([releases])[0])
    assert set(names) == {"Wan2.1-I2V-14B-480P", "Wan2.1-I2V-14B-720P", "wan_i2v"}
    assert resolve_models(IMAGE_TO_VIDEO, None, [releases]).name == "Wan2.1-I2V-14B-480P"
    own = releases / "Wan2.1-I2V-14B-720P"
    last = own / "diffusion_pytorch_model-00002-of-00002.safetensors"
    for wanted in (own.name, str(own), str(last)):
        chosen = resolve_models(IMAGE_TO_VIDEO, wanted, [releases])
        assert (chosen.name, chosen.profile.label, chosen.profile.tier) == (own.name, own.name, 720)
        assert {facts.path.parent for facts in chosen.checkpoints} == {own}
        assert chosen.transformer.path == chosen.transformer.files[0]
    assert resolve_models(IMAGE_TO_VIDEO, "Wan2.1-I2V-14B-480P", [releases]).profile.tier == 480


def test_a_folder_elsewhere_brings_its_own_encoders(releases: Path, tmp_path: Path) -> None:
    elsewhere = releases / "Wan2.1-I2V-14B-720P"
    elsewhere = elsewhere.rename(tmp_path / elsewhere.name)
    chosen = resolve_models(IMAGE_TO_VIDEO, str(elsewhere), [releases])
    assert chosen.name == elsewhere.name
    assert {facts.path.parent for facts in chosen.checkpoints} == {elsewhere}


def test_names_are_unique_and_never_of_a_common_folder(tmp_path: Path) -> None:
    write(tmp_path / "Repo-Diffusers/transformer/diffusion_pytorch_model.safetensors", diffusion(128))
    for folder in ("a", "b"):
        write(tmp_path / folder / "wan2.1_i2v.safetensors", diffusion(128))
    found = describe_folder([tmp_path])[0]
    assert set(model_names(found)) == {"Repo-Diffusers", "a/wan2.1_i2v", "b/wan2.1_i2v"}
    assert {model_name(facts) for facts in found} == {"Repo-Diffusers", "wan2.1_i2v"}
    write_encoders(tmp_path)
    assert resolve_models(IMAGE_TO_VIDEO, "b/wan2.1_i2v", [tmp_path]).transformer.path.parent.name == "b"


def test_a_profile_may_name_its_tier(pocket: Path) -> None:
    (pocket / "model.json").write_text('{"label": "Own", "tier": 720}')
    assert resolve_models(TEXT_TO_VIDEO, None, [pocket]).profile.tier == 720
    (pocket / "model.json").write_text('{"label": "Own", "tier": 600}')
    with pytest.raises(UserError, match="tier .* got 600; allowed: 480, 720"):
        resolve_models(TEXT_TO_VIDEO, None, [pocket])
    (pocket / "model.json").write_text('{"label": ')
    with pytest.raises(UserError, match="model.json beside the model is damaged"):
        resolve_models(TEXT_TO_VIDEO, None, [pocket])


MODULES: list[tuple[tuple[str, ...], int, str]] = [
    (("multi/infinitetalk", "single/infinitetalk"), 1, "single/infinitetalk"),
    (("multi/infinitetalk", "single/infinitetalk"), 2, "multi/infinitetalk"),
    (("Wan2_1-InfiniteTalk-Multi", "Wan2_1-InfiniteTalk-Single"), 1, "Wan2_1-InfiniteTalk-Single"),
    (("Wan2_1-InfiniteTalk-Multi", "Wan2_1-InfiniteTalk-Single"), 2, "Wan2_1-InfiniteTalk-Multi"),
    (("A-MultiTalk", "Wan2_1-InfiniteTalk-Single"), 2, "Wan2_1-InfiniteTalk-Single"),
    (("A-MultiTalk", "Wan2_1-InfiniteTalk-Multi"), 1, "Wan2_1-InfiniteTalk-Multi"),
    (("single/infinitetalk",), 2, "single/infinitetalk"),
]


@pytest.mark.parametrize(("files", "speakers", "expected"), MODULES)
def test_infinitetalk_is_the_one_for_the_number_of_speakers(
    files: tuple[str, ...], speakers: int, expected: str, models: Path
) -> None:
    for file in files:
        write(models / f"{file}.safetensors", audio_layers(256))
    chosen = resolve_models(TALK, None, [models], speakers=speakers)
    assert chosen.audio is not None and chosen.audio.path == models / f"{expected}.safetensors"


def test_a_merged_file_serves_speech_and_yields_without_it(models: Path, pocket: Path) -> None:
    merged = write(models / "merged.safetensors", diffusion(256) | audio_layers(256))
    assert resolve_models(TALK, None, [models, pocket]).transformer.path == merged
    assert resolve_models(IMAGE_TO_VIDEO, None, [models, pocket]).name == "wan_i2v"
    (models / "wan_i2v.safetensors").unlink()
    assert resolve_models(IMAGE_TO_VIDEO, None, [models, pocket]).name == "merged"


def test_the_first_folder_goes_before_a_larger_model_of_the_next(pocket: Path, tmp_path: Path) -> None:
    own = write_pocket(tmp_path / "own")
    write(pocket / "large_i2v.safetensors", diffusion(256))
    for folders, name in (([own, pocket], "own/tiny_i2v"), ([pocket, own], "large_i2v")):
        assert resolve_models(IMAGE_TO_VIDEO, None, folders).name == name


def test_a_model_of_another_task_is_named_as_what_it_is(pocket: Path) -> None:
    for wanted in ("tiny_i2v", str(pocket / "tiny_i2v.safetensors")):
        with pytest.raises(
            UserError, match="tiny_i2v is an image-to-video model; text_to_video needs a text"
        ):
            resolve_models(TEXT_TO_VIDEO, wanted, [pocket])
    with pytest.raises(UserError, match="umt5 is no diffusion model but a file of kind text_encoder"):
        resolve_models(TEXT_TO_VIDEO, "umt5", [pocket])
    with pytest.raises(UserError, match="unknown model, got 'wan_9000'; allowed: tiny_t2v"):
        resolve_models(TEXT_TO_VIDEO, "wan_9000", [pocket])


@pytest.mark.parametrize(
    ("encoder", "tokenizer"),
    [
        ("umt5.safetensors", "spiece.model"),
        ("umt5.safetensors", "umt5-xxl/spiece.model"),
        ("umt5.safetensors", "google/umt5-xxl/spiece.model"),
        ("text_encoder/model.safetensors", "tokenizer/spiece.model"),
    ],
)
def test_places_of_the_tokenizer(encoder: str, tokenizer: str, models: Path) -> None:
    (models / "spiece.model").unlink()
    (models / "umt5.safetensors").unlink()
    write(models / encoder, ENCODERS["umt5"])
    with pytest.raises(UserError, match="Put spiece.model"):
        resolve_models(IMAGE_TO_VIDEO, None, [models])
    (models / tokenizer).parent.mkdir(parents=True, exist_ok=True)
    (models / tokenizer).write_bytes(b"pieces")
    assert resolve_models(IMAGE_TO_VIDEO, None, [models]).tokenizer == models / tokenizer


def test_an_encoder_that_embeds_its_tokenizer_goes_before_one_without(models: Path) -> None:
    (models / "spiece.model").unlink()
    comfy = write(models / "zz_comfy.safetensors", ENCODERS["umt5"] | {"spiece_model": [9]}, "F32")
    chosen = resolve_models(IMAGE_TO_VIDEO, None, [models])
    assert chosen.tokenizer == chosen.text_encoder.path == comfy


def test_the_official_speech_encoder_is_found(models: Path) -> None:
    (models / "wav2vec2.safetensors").unlink()
    write(models / "talk.safetensors", audio_layers(256))
    state = {name: torch.zeros(shape) for name, shape in ENCODERS["wav2vec2"].items()}
    torch.save(state, models / "pytorch_model.bin")
    chosen = resolve_models(TALK, None, [models])
    assert chosen.speech_encoder is not None and chosen.speech_encoder.path.name == "pytorch_model.bin"


def test_a_shard_that_arrives_later_is_seen(releases: Path) -> None:
    shard = releases / "Wan2.1-I2V-14B-480P/diffusion_pytorch_model-00002-of-00002.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    usable, refused = describe_folder([releases])
    assert [refusal.component for refusal in refused] == ["unreadable"]
    assert "1 file(s) missing" in resolve_models(IMAGE_TO_VIDEO, None, [releases]).passed_over[0]
    shard.write_bytes(content)
    assert len(describe_folder([releases])[0]) == len(usable) + 1
