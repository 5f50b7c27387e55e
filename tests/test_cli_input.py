"""What the command line accepts, and how it refuses: exit code 2, one line on stderr, nothing left behind."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.media.media_files import picture, write_sound
from wanvideo.cli import COMMANDS, main
from wanvideo.presets import ALL_FIELDS

Streams = pytest.CaptureFixture[str]
TALK = ["--image", "face.png", "--audio", "hello.wav"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good and bad inputs."""
    monkeypatch.chdir(tmp_path)
    picture(64, 64).save(tmp_path / "face.png")
    write_sound(tmp_path / "hello.wav", seconds=0.4)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.png").write_text("I am a text, not a picture.\n")
    (tmp_path / "text.wav").write_text("I am a text, not a sound.\n")
    soundfile.write(str(tmp_path / "nan.wav"), np.full(8000, np.nan, np.float32), 16_000, subtype="FLOAT")
    return tmp_path


BAD_INPUT: list[tuple[list[str], str]] = [
    (
        ["--image", "face.png", "--audio", "empty.wav"],
        "sound 'empty.wav' cannot be used: the file is empty (0 bytes)",
    ),
    (["--image", "text.png"], "picture 'text.png' cannot be used: it is damaged or of another kind"),
    (["--image", "face.png", "--audio", "text.wav"], "sound 'text.wav' cannot be used"),
    (["--image", "missing.png"], "picture 'missing.png' cannot be used: there is no such file"),
    (
        ["--image", "face.png", "--audio", "missing.wav"],
        "sound 'missing.wav' cannot be used: there is no such file",
    ),
    (
        ["--image", "face.png", "--audio", "nan.wav"],
        "sound 'nan.wav' cannot be used: it holds samples that are not",
    ),
    (["--video", "face.png"], "video 'face.png' cannot be used"),
    (["--image", "face.png", "--audio", "hello.wav", "hello.wav", "hello.wav"], "too many speakers, got 3"),
    ([], "talk needs image or video"),
    ([*TALK, "--width", "17"], "width must be a multiple of 16, got 17; allowed: 16 or 32"),
    ([*TALK, "--width", "17", "--height", "64"], "width must be a multiple of 16, got 17; allowed: 16 or 32"),
    ([*TALK, "--num-frames", "80"], "num_frames must be 4n+1, got 80; allowed: 77 or 81"),
    (["--task", "text_to_video", "--num-frames", "80"], "num_frames must be 4n+1, got 80; allowed: 77 or 81"),
    ([*TALK, "--set", "fps=30"], "fps must be 25 with speech, got 30.0"),
    ([*TALK, "--sampler", "eulr"], "unknown sampler, got 'eulr'; allowed: euler"),
    ([*TALK, "--attention", "sdpaa"], "unknown attention, got 'sdpaa'; allowed: "),
    ([*TALK, "--quantization", "nf4"], "unknown quantization, got 'nf4'; allowed: "),
    ([*TALK, "--set", "stps=4"], "unknown setting, got 'stps'; allowed: "),
    ([*TALK, "--set", "steps"], "--set needs FIELD=VALUE, got 'steps'"),
    ([*TALK, "--steps", "four"], "num_inference_steps must be a whole number, got 'four'"),
    ([*TALK, "--steps", "0"], "num_inference_steps is out of range, got 0; allowed: 1 to 1000"),
    ([*TALK, "--model", "wan_9000"], "unknown model, got 'wan_9000'"),
    ([*TALK, "--preset", "pocket_dmo"], "unknown preset, got 'pocket_dmo'"),
    ([*TALK, "--request", "missing.json"], "request file 'missing.json' cannot be read"),
    ([*TALK, "--output", "video.webm"], "the output must be named .mp4, got 'video.webm'"),
    ([*TALK, "--output", "face.png/out.mp4"], "the output folder cannot be written, got 'face.png'"),
    (["--task", "sing"], "task is not one of its choices, got 'sing'"),
    (["--stepz", "4"], "unrecognized arguments: --stepz 4"),
    (["--step", "4"], "unrecognized arguments: --step 4"),  # flags are not guessed from their beginning
    (["--steps"], "argument --steps: expected one argument"),
]


@pytest.mark.parametrize("command", ["generate", "plan"])
@pytest.mark.parametrize(("flags", "text"), BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, capfd: Streams, command: str, flags: list[str], text: str
) -> None:
    before = sorted(folder.rglob("*"))
    output = [] if "--output" in flags else ["--output", "out.mp4"]
    assert main([command, *output, *flags]) == 2
    streams = capfd.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(text)
    assert streams.err.count("\n") == 1 and streams.err.endswith("\n")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["paint"], ["hardware", "--steps", "4"], ["demo", "--seed", "1"]])
def test_unknown_command_or_flag_is_one_line(arguments: list[str], capfd: Streams) -> None:
    assert main(arguments) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_mistakes_are_told_before_missing_models(folder: Path, capfd: Streams) -> None:
    (folder / "nothing").mkdir()
    flags = ["--image", "face.png", "--set", "models_dir=nothing", "--model", "wan_9000"]
    assert main(["plan", *flags, "--sampler", "eulr"]) == 2
    assert "unknown sampler" in capfd.readouterr().err
    assert main(["plan", *flags]) == 2
    assert "unknown model" in capfd.readouterr().err


def flags_of(command: str, capsys: Streams) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def own_flags(command: str) -> set[str]:
    """The flags that a command has beside those of the field table, such as the mode to convert to."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags = COMMANDS[command].flags
    if add_flags is not None:
        add_flags(parser)
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_flags_of_the_field_table(command: str, capsys: Streams) -> None:
    shown = flags_of(command, capsys)
    own = own_flags(command)
    for row in ALL_FIELDS.values():
        if row.flag:
            expected = COMMANDS[command].fields or row.flag in own
            assert (f"{row.flag} " in shown or f"{row.flag}]" in shown) == expected


CONTRACT = (
    "--task --preset --request --prompt --negative-prompt --image --end-image --video --audio --seconds "
    "--num-frames --width --height --steps --guidance --audio-guidance --shift --sampler --seed --count "
    "--model --quantization --attention --strict --set --output --json --models-dir --output-dir"
)


def test_flags_of_the_contract_are_there(capsys: Streams) -> None:
    shown = flags_of("generate", capsys)
    assert [flag for flag in CONTRACT.split() if flag not in shown] == []
