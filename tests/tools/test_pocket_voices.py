"""The voices that training hears, those held out, and the human recordings to measure with."""

import shutil
from pathlib import Path

import numpy
import pytest
import soundfile
import torch

from tools.pocket.recordings import DEFAULT, PACKAGE, human_excerpts, human_recordings
from tools.pocket.sound import FRAME, RATE, mouth_track
from tools.pocket.voices import Speaker, lines, speakers, speech

needs_recordings = pytest.mark.skipif(not DEFAULT.is_dir(), reason=f"the package {PACKAGE} is not installed")


def test_training_and_held_out_share_no_voice_and_no_sentence() -> None:
    training, held_out = lines(), lines(held_out=True)
    assert not {text for _, text in training} & {text for _, text in held_out}
    voices, others = ({(who.engine, who.voice) for who in speakers(part)} for part in (False, True))
    assert not voices & others
    assert {who for who, _ in training} == set(speakers())
    assert {who for who, _ in held_out} == set(speakers(held_out=True))


def test_every_engine_has_a_fair_share_of_the_training_words() -> None:
    words: dict[str, int] = {}
    for who, text in lines():
        words[who.engine] = words.get(who.engine, 0) + len(text.split())
    assert set(words) == {"espeak-ng", "flite", "festival"}
    assert min(words.values()) > 0.15 * sum(words.values())
    assert {who.engine for who in speakers(held_out=True)} == {"espeak-ng", "flite"}


@pytest.mark.parametrize(
    ("engine", "voice", "program"),
    [
        ("espeak-ng", "en-us", "espeak-ng"),
        ("flite", "slt", "flite"),
        ("festival", "cmu_us_slt_arctic_hts", "text2wave"),
    ],
)
def test_engines_speak_at_one_rate_and_level(engine: str, voice: str, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    wave = speech(Speaker(engine=engine, voice=voice, words=150, pitch=100), "Good morning to you all.")
    assert wave.dtype == numpy.int16
    assert 1.0 < len(wave) / RATE < 4.0
    assert abs(int(numpy.abs(wave).max()) / 32767 - 0.7) < 0.01
    whole = torch.from_numpy(wave[: len(wave) // FRAME * FRAME] / 32768.0)[None]
    assert float(mouth_track(whole)[..., 0].std()) > 0.15


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_pace_of_flite_is_obeyed() -> None:
    slow, fast = (
        len(speech(Speaker(engine="flite", voice="kal16", words=words, pitch=100), "Count to seven."))
        for words in (110, 190)
    )
    assert slow > 1.3 * fast


@pytest.mark.parametrize(
    ("engine", "package"), [("espeak-ng", "espeak-ng"), ("flite", "flite"), ("festival", "festival")]
)
def test_a_missing_program_is_named_with_its_package(
    engine: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"package {package}$"):
        speech(Speaker(engine=engine, voice="slt", words=150, pitch=100), "Hello.")


@pytest.mark.skipif(shutil.which("text2wave") is None, reason="festival is not installed")
def test_a_missing_festival_voice_is_named_with_its_package() -> None:
    with pytest.raises(FileNotFoundError, match="festvox-us-slt-hts"):
        speech(Speaker(engine="festival", voice="nobody", words=150, pitch=100), "Hello.")


def test_missing_recordings_name_their_package(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=PACKAGE):
        human_recordings(tmp_path)


def test_recordings_are_read_from_both_kinds_of_files(tmp_path: Path) -> None:
    tone = (8_000 * numpy.sin(numpy.arange(RATE) * 0.1)).astype(numpy.int16)
    (tmp_path / "cards").mkdir()
    soundfile.write(tmp_path / "cards" / "one.wav", tone, RATE)
    tone.astype("<i2").tofile(tmp_path / "two.raw")
    (first, wave), (second, raw) = human_recordings(tmp_path)
    assert (first, second) == ("cards/one.wav", "two.raw")
    numpy.testing.assert_array_equal(wave, raw)
    soundfile.write(tmp_path / "cards" / "one.wav", tone, 8_000)
    with pytest.raises(ValueError, match="mono"):
        human_recordings(tmp_path)


def test_excerpts_avoid_silence_and_visit_every_recording(tmp_path: Path) -> None:
    for number in range(3):
        wave = numpy.zeros(4 * RATE, numpy.int16)
        wave[2 * RATE :] = 1_000 * (number + 1)
        wave.tofile(tmp_path / f"{number}.raw")
    numpy.full(RATE // 2, 9_000, numpy.int16).tofile(tmp_path / "short.raw")
    excerpts = human_excerpts(6, RATE, 0, tmp_path)
    assert excerpts.shape == (6, RATE)
    assert float((excerpts != 0.0).mean(1).min()) >= 0.55
    loudest = sorted(round(float(peak) * 32768) for peak in excerpts.max(1))
    assert loudest == [1_000, 1_000, 2_000, 2_000, 3_000, 3_000]
    with pytest.raises(ValueError, match="no recording"):
        human_excerpts(1, 9 * RATE, 0, tmp_path)


@needs_recordings
def test_human_recordings_sound_like_speech() -> None:
    recordings = human_recordings()
    assert len(recordings) >= 10
    for name, wave in recordings:
        assert wave.dtype == numpy.float32
        assert 0.5 < len(wave) / RATE < 30.0, name
        assert 0.01 < float(wave.std()) < 0.3, name
        track = mouth_track(torch.from_numpy(wave[: len(wave) // FRAME * FRAME])[None])[0, :, 0]
        assert float(track.std()) > 0.15, name


@needs_recordings
def test_human_excerpts_hold_speech_and_follow_their_seed() -> None:
    excerpts = human_excerpts(12, 49 * FRAME, 3)
    assert excerpts.shape == (12, 49 * FRAME)
    assert excerpts.dtype == numpy.float32
    assert len({wave.tobytes() for wave in excerpts}) == 12
    openness = mouth_track(torch.from_numpy(excerpts))[..., 0]
    assert float((openness > 0.0).float().mean(1).min()) > 0.5
    numpy.testing.assert_array_equal(excerpts, human_excerpts(12, 49 * FRAME, 3))
    assert not numpy.array_equal(excerpts, human_excerpts(12, 49 * FRAME, 4))
