"""wav2vec2: official golden, silence, and long speech in pieces."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from tests.checkpoint.samples import below, golden, relative_error
from wanvideo.checkpoint.keys import to_module
from wanvideo.models import speech_encoder
from wanvideo.models.speech_encoder import encode_speech


def golden_model() -> tuple[Wav2Vec2Model, dict[str, torch.Tensor]]:
    tensors, info = golden("audio_pipeline_w2v.safetensors")
    model = Wav2Vec2Model(Wav2Vec2Config(**info["wav2vec2_config"])).eval()
    model.load_state_dict(to_module("speech_encoder", below(tensors, "w2v.w.")))
    return model, tensors


def test_golden_embedding() -> None:
    model, tensors = golden_model()
    embedding = encode_speech(model, tensors["w2v.input_values"][0] * 0.1 + 0.02, num_frames=51)
    assert embedding.shape == (51, 12, 48)
    assert relative_error(embedding, tensors["w2v.embedding"]) <= 1e-5


def test_silence_is_finite() -> None:
    model, _ = golden_model()
    assert encode_speech(model, torch.zeros(8000), num_frames=12).isfinite().all()


def test_long_speech_in_pieces_is_close_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = golden_model()
    samples = torch.randn(16000 * 12, generator=torch.Generator().manual_seed(0))
    whole = encode_speech(model, samples, num_frames=299)
    monkeypatch.setattr(speech_encoder, "WHOLE_FRAMES", 150)
    monkeypatch.setattr(speech_encoder, "OVERLAP_FRAMES", 40)
    pieces = encode_speech(model, samples, num_frames=299)
    assert pieces.shape == whole.shape
    assert relative_error(pieces, whole) <= 0.02
