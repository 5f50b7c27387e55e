"""The pocket model's training: the same functions as the application's, and a few real steps."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import (
    FILES,
    build_image_encoder,
    build_speech_encoder,
    build_vae,
    load_component,
    save_component,
)
from tools.pocket.conditions import PocketModel, with_condition
from tools.pocket.dataset import make_clips
from tools.pocket.export import LIMIT_BYTES, export
from tools.pocket.latent_pool import MOUTH_WEIGHT, Encoders
from tools.pocket.muon import Muon, orthogonalise
from tools.pocket.objective import SHIFT, Objective, sample_times
from tools.pocket.sampling import SamplerOptions, euler, timesteps
from tools.pocket.shards import pack, to_values
from tools.pocket.train_speech import speech_features, speech_windows
from tools.pocket.train_transformer import build_optimizers, initialise
from tools.pocket.train_vae import box_mask, reconstruction_loss
from tools.pocket.training_run import Average, Box, psnr
from tools.pocket.vae_start import fold_latent_scale, initialise_for_pictures
from wanvideo.models.speech_encoder import encode_speech
from wanvideo.models.text_encoder import PromptTokenizer
from wanvideo.window_tensors import reference_clip, with_mask

RELEASE = Path(__file__).parents[2] / "models" / "pocket"


def disturbed_vae() -> ClipVae:
    torch.manual_seed(0)
    vae = build_vae().eval().requires_grad_(False)
    for parameter in vae.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return ClipVae(vae)


@torch.no_grad()
def test_whole_clip_autoencoder_equals_the_frame_by_frame_one() -> None:
    model = disturbed_vae()
    video = torch.rand(1, 3, 9, 16, 24) * 2 - 1
    for frames in (1, 5, 9):
        expected = model.vae.encode(video[:, :, :frames]).latent_dist
        mean, log_variance = model.posterior(video[:, :, :frames])
        torch.testing.assert_close(mean, expected.mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(log_variance, expected.logvar, atol=1e-4, rtol=1e-4)
    latents = torch.randn(1, 16, 3, 2, 3)
    expected_video = model.vae.decode(latents).sample
    torch.testing.assert_close(model.reconstruct(latents).clamp(-1, 1), expected_video, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_folded_latents_have_the_official_scale_and_decode_alike() -> None:
    model = disturbed_vae()
    initialise_for_pictures(model.vae)
    video = torch.rand(2, 3, 5, 16, 16) * 2 - 1
    latents, _ = model.posterior(video)
    before = model.reconstruct(latents)
    fold_latent_scale(model.vae, latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4)))
    normalised = model.encode(video)
    torch.testing.assert_close(normalised.mean((0, 2, 3, 4)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3, 4)), torch.ones(16), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.decode(normalised), before.clamp(-1, 1), atol=1e-4, rtol=1e-4)


def test_speech_features_are_the_applications() -> None:
    encoder = build_speech_encoder().eval()
    waves = torch.randn(2, 20 * 640)
    features = speech_features(encoder, waves, 20)
    expected = torch.stack([encode_speech(encoder, wave, 20) for wave in waves])
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    windows = speech_windows(features, 8, 9)
    assert windows.shape == (2, 9, 5, 3, 64)
    assert torch.equal(windows[:, 2, 0], features[:, 8])
    assert torch.equal(speech_windows(features, 0, 3)[:, 0, 0], features[:, 0])


def test_times_and_table_follow_the_flow_shift() -> None:
    torch.manual_seed(1)
    times = sample_times(4000, torch.device("cpu"))
    assert 0 < float(times.min()) < float(times.max()) < 1
    median = SHIFT * 0.5 / (1 + (SHIFT - 1) * 0.5)
    assert abs(float(times.median()) - median) < 0.02
    table = timesteps(8, 7.0)
    assert table[0] == 1000 and table[-1] == 0 and len(table) == 9
    assert timesteps(4, 7.0)[1] == pytest.approx(933.43, abs=0.01)


def test_euler_reaches_the_data_of_an_exact_velocity() -> None:
    data, noise = torch.randn(1, 16, 3, 2, 2), torch.randn(1, 16, 3, 2, 2)
    made = euler(lambda *_: noise - data, noise, SamplerOptions(steps=5), data[:, :, :1])
    torch.testing.assert_close(made, data, atol=1e-4, rtol=1e-4)


def test_muon_steps_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, 16, 40)).float())
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4
    weight = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.randn(8, 8)
    optimizer.step()
    assert 0.03 < float(torch.linalg.svdvals(weight.detach()).mean()) < 0.15


def test_average_and_box() -> None:
    layer = torch.nn.Linear(2, 2)
    average = Average(layer, 0.9)
    first = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    average.update()
    average.swap()
    assert bool(((layer.weight > first) & (layer.weight < first + 1)).all())
    average.swap()
    torch.testing.assert_close(layer.weight.detach(), first + 1)
    box = Box(seconds=1000)
    assert box.rate() == pytest.approx(0.01, abs=1e-3) and not box.over


def test_box_mask_and_psnr() -> None:
    mask = box_mask(torch.tensor([[2.0, 1.0, 5.0, 3.0]]), 8)
    assert float(mask.sum()) == 6 and bool(mask[0, 1:3, 2:5].all())
    assert psnr(torch.zeros(1, 3, 1, 4, 4), torch.full((1, 3, 1, 4, 4), 0.2)) == pytest.approx(20, abs=1e-3)


def test_autoencoder_loss_has_gradients_everywhere() -> None:
    vae = build_vae()
    initialise_for_pictures(vae)
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    loss, _ = reconstruction_loss(ClipVae(vae), video, torch.ones(1, 1, 1, 16, 16), 1.0)
    loss.backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())


def random_item(kind: str) -> dict[str, Tensor]:
    caption = torch.zeros(2, 12, dtype=torch.int16)
    caption[:, :4] = torch.tensor([5, 6, 7, 1])
    item = {"latents": torch.randn(2, 16, 3, 4, 4), "caption": caption}
    if kind != "text":
        item |= {
            "condition": torch.randn(2, 16, 3, 4, 4),
            "picture": torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            "ends": torch.tensor([kind == "motion", False]),
        }
    if kind in ("talk", "pair"):
        item |= {
            "speech": torch.randn(2, 1 if kind == "talk" else 2, 9, 5, 3, 64),
            "weight": torch.ones(2, 4, 4),
            "clean": torch.tensor([1, 2]),
        }
    return item


def test_a_step_of_every_kind_trains_its_own_part() -> None:
    torch.manual_seed(0)
    model = PocketModel()
    initialise(model)
    objective = Objective(model=model, no_prompts=[torch.ones(1, 1, dtype=torch.long)])
    optimizers = build_optimizers(model)
    for kind in ("talk", "pair", "motion", "text"):
        model.zero_grad(set_to_none=True)
        objective.loss(kind, random_item(kind)).backward()
        audio = model.i2v.audio_proj
        assert audio is not None
        assert (audio.proj1.weight.grad is not None) == (kind in ("talk", "pair"))
        assert (model.t2v.proj_out.weight.grad is not None) == (kind == "text")
        assert (model.i2v.proj_out.weight.grad is not None) == (kind != "text")
        for optimizer in optimizers:
            optimizer.step()
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_an_end_picture_is_marked_as_the_application_marks_it() -> None:
    latents, condition = torch.randn(2, 16, 3, 4, 4), torch.randn(2, 16, 3, 4, 4)
    made = with_condition(latents, condition, torch.tensor([True, False]))
    for row, has_end in enumerate((True, False)):
        assert torch.equal(made[row, 16:], with_mask(condition[row], has_end))


@pytest.mark.parametrize("kind", ["talk", "pair", "motion"])
def test_a_pool_holds_what_the_application_would_give(kind: str) -> None:
    torch.manual_seed(0)
    clips = make_clips(kind, 6, frames=9, size=64, generator=torch.Generator().manual_seed(2))
    speech = build_speech_encoder().eval().requires_grad_(False)
    encoders = Encoders(
        vae=disturbed_vae(),
        speech=speech,
        tokenizer=PromptTokenizer.from_file(RELEASE / "spiece.model"),
        device=torch.device("cpu"),
    )
    shard = pack(kind, "native", clips)
    with torch.autocast("cpu", enabled=False):
        item = encoders.encode(shard)
    assert item["latents"].shape == item["condition"].shape == (6, 16, 3, 8, 8)
    picture = to_values(item["picture"])
    for row in range(6):
        last = to_values(shard.video)[row, :, -1:] if item["ends"][row] else None
        given = encoders.vae.encode(reference_clip(picture[row, :, None], 9, last)[None])
        assert float((item["condition"][row] - given[0]).abs().mean()) < 0.05  # bf16
    if kind == "motion":
        assert "speech" not in item
    else:
        assert item["speech"].shape == (6, 2 if kind == "pair" else 1, 9, 5, 3, 64)
        assert not item["ends"].any() and set(item["clean"].tolist()) <= {1, 3}
        assert float(item["weight"].max()) == MOUTH_WEIGHT


def test_components_go_to_official_files_and_back(tmp_path: Path) -> None:
    encoder = build_image_encoder()
    save_component(tmp_path, "pocket_clip", encoder.state_dict())
    again = build_image_encoder()
    assert load_component(again, tmp_path, "pocket_clip")
    assert not load_component(again, tmp_path, "pocket_vae")
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="lacks"):
        export(tmp_path, tmp_path / "release")


def test_the_release_is_complete_small_and_half_precision(tmp_path: Path) -> None:
    export(RELEASE, tmp_path)
    names = {f"{name}.safetensors" for name in FILES} | {"spiece.model"}
    assert names == {file.name for file in tmp_path.iterdir()}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= LIMIT_BYTES == 48_000_000


@torch.no_grad()
def test_the_shipped_autoencoder_gives_a_clip_back() -> None:
    vae = build_vae().eval()
    load_component(vae, RELEASE, "pocket_vae")
    model = ClipVae(vae)
    clips = make_clips("talk", 1, frames=9, size=192, generator=torch.Generator().manual_seed(77))
    assert psnr(model.decode(model.encode(clips.video)), clips.video) >= 26
