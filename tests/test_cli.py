"""The command line at work, in this process: layers, words and JSON, whole videos, stopping."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.media.media_files import picture, write_sound
from tests.tiny_models import write_tiny_models
from wanvideo.attention.sdpa import BACKENDS
from wanvideo.cli import main
from wanvideo.media.probe import probe_sound, probe_video
from wanvideo.media.video import read_metadata
from wanvideo.quantization.none import MODES

ROOT = Path(__file__).parents[1]
Streams = pytest.CaptureFixture[str]
MODEL = ["--model", "tiny_i2v"]  # the bundled model is larger
TALK = ["--image", "face.png", "--audio", "hello.wav", "--set", "models_dir=tiny", *MODEL]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete set of tiny random models."""
    return write_tiny_models(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with inputs and the models under `tiny`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").symlink_to(models, target_is_directory=True)
    picture(64, 64).save(tmp_path / "face.png")
    write_sound(tmp_path / "hello.wav", seconds=0.4)
    return tmp_path


def planned(capfd: Streams, *flags: str) -> dict[str, Any]:
    """The JSON answer of `plan`."""
    assert main(["plan", "--json", *TALK, *flags]) == 0, capfd.readouterr().err
    answer: dict[str, Any] = json.loads(capfd.readouterr().out.splitlines()[-1])
    return answer


LAYERS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {"num_inference_steps": 2, "sampler": "multitalk"}),
    (["--preset", "pocket_demo"], {"seed": 7}),
    (["--preset", "pocket_demo", "--request", "r.json"], {"seed": 8, "num_inference_steps": 5}),
    (
        ["--request", "r.json", "--preset", "pocket_demo", "--seed", "9"],
        {"seed": 9, "num_inference_steps": 5},
    ),
    (["--request", "r.json", "--set", "seed=9"], {"seed": 9}),
    (["--steps", "3", "--set", "steps=4"], {"num_inference_steps": 4}),
    (["--set", "steps=4", "--set", "num_inference_steps=5"], {"num_inference_steps": 5}),
    (["--request", "r.json", "--num-frames", "13"], {"frames": 13}),
    (["--request", "r.json"], {"frames": 50}),
    (
        ["--set", "cfg=6,3", "--set", "audio_cfg=1"],
        {"guidance_scale": [6.0, 3.0], "audio_guidance_scale": 1.0},
    ),
    (["--set", "cfg=[6, 3]"], {"guidance_scale": [6.0, 3.0]}),
    (["--set", "shift=2.5", "--set", "scheduler=ddim"], {"flow_shift": 2.5, "sampler": "euler"}),
    (
        ["--set", "quantization=none", "--attention", "sdpa"],
        {"quantization": MODES[0].name, "attention": BACKENDS[0].name},
    ),
    (["--width", "64", "--height", "96"], {"size": [64, 96]}),
]


@pytest.mark.parametrize(("flags", "expected"), LAYERS)
def test_layers_and_flags_reach_the_plan(
    folder: Path, capfd: Streams, flags: list[str], expected: dict[str, Any]
) -> None:
    (folder / "r.json").write_text(json.dumps({"request": {"seed": 8, "steps": 5, "seconds": 2}}))
    effective = planned(capfd, *flags)["effective"]
    assert {name: effective[name] for name in expected} == expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--audio", "a.wav", "b.wav"],
        ["--audio", "a.wav", "--audio", "b.wav"],
        ["--set", 'audio=["a.wav", "b.wav"]'],
    ],
)
def test_two_voices(folder: Path, capfd: Streams, flags: list[str]) -> None:
    for name in ("a.wav", "b.wav"):
        write_sound(folder / name, seconds=0.4)
    asked = ["--image", "face.png", "--set", "models_dir=tiny", "--set", "audio_order=sequence"]
    assert main(["plan", "--json", *asked, *flags]) == 0
    assert json.loads(capfd.readouterr().out)["effective"]["frames"] == 20


def test_plan_in_words(folder: Path, capfd: Streams) -> None:
    assert main(["plan", *TALK, "--set", "denoise_strength=0.5", "--output", "new/out.mp4"]) == 0
    streams = capfd.readouterr()
    lines = dict(line.split(":", 1) for line in streams.out.splitlines())
    told = {name.strip(): text.strip() for name, text in lines.items()}
    assert told["size"] == "64 x 64 pixels"
    assert told["length"].startswith("10 frames at 25 a second, 0.40 seconds")
    assert told["windows"] == "2 of 9 frames"
    assert told["passes"].startswith("3 ")
    assert told["transformer"].endswith("MB)") and "tiny_i2v.safetensors" in told["transformer"]
    assert told["output"] == str(Path("new/out.mp4"))
    assert told["Note"] == "denoise_strength has no effect in talk."
    assert streams.err == ""
    assert not (folder / "new").exists()


@pytest.mark.usefixtures("folder")
def test_plan_as_json(capfd: Streams) -> None:
    answer = planned(capfd, "--seed", "3")
    assert set(answer) == {"output", "effective", "notes", "files"}
    assert answer["effective"]["seed"] == 3
    assert answer["notes"] == []
    assert {"transformer", "vae", "speech_encoder"} <= {file["component"] for file in answer["files"]}
    assert answer["output"].startswith("outputs") and answer["output"].endswith("_talk_3.mp4")


@pytest.mark.usefixtures("folder")
def test_folders_are_flags(capfd: Streams) -> None:
    inputs = ["--image", "face.png", "--audio", "hello.wav"]
    flags = [*inputs, *MODEL, "--models-dir", "tiny", "--output-dir", "films"]
    assert main(["plan", "--json", *flags]) == 0, capfd.readouterr().err
    answer = json.loads(capfd.readouterr().out)
    assert Path(answer["output"]).parent == Path("films")
    assert answer["effective"]["model"] == "tiny_i2v"


@pytest.mark.parametrize("name", ["日本語.mp4", "bär.mp4"])
def test_every_file_name_can_be_written_to_an_old_pipe(folder: Path, name: str) -> None:
    """cp1252 is what a pipe on Windows speaks; JSON stays readable whatever the reader takes it for."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    for json_flag in ([], ["--json"]):
        command = [sys.executable, "-m", "wanvideo", "plan", *TALK, "--output", name, *json_flag]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        words = done.stderr if json_flag else done.stdout
        assert name in words.decode("utf-8")
    assert json.loads(done.stdout.decode("ascii"))["output"] == name


@pytest.mark.usefixtures("folder")
def test_variations_have_their_own_seeds_and_names(capfd: Streams) -> None:
    answer = planned(capfd, "--seed", "3", "--count", "3", "--output", "a.mp4")
    assert [row["effective"]["seed"] for row in answer["variations"]] == [3, 4, 5]
    assert [row["output"] for row in answer["variations"]] == ["a.mp4", "a_2.mp4", "a_3.mp4"]
    assert answer["output"] == "a.mp4"


@pytest.mark.usefixtures("folder")
def test_a_random_seed_is_drawn_and_told(capfd: Streams) -> None:
    first, second = (planned(capfd)["effective"]["seed"] for _ in range(2))
    assert first != second
    assert min(first, second) >= 0


@pytest.mark.usefixtures("folder")
def test_plan_and_bad_input_load_no_torch() -> None:
    code = (
        "import sys; from wanvideo.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}')"
    )
    command = [sys.executable, "-c", code, "plan", *TALK]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "0 set()"


def test_hardware_in_words_and_as_json(capfd: Streams) -> None:
    assert main(["hardware"]) == 0
    words = capfd.readouterr()
    assert words.err == ""
    assert main(["hardware", "--json"]) == 0
    streams = capfd.readouterr()
    answer = json.loads(streams.out)
    assert answer["machine"]["cores"] >= 1
    assert {"name": BACKENDS[0].name, "usable": True, "reason": None} in answer["attention"]
    assert {"name": MODES[0].name, "usable": True, "reason": None} in answer["quantization"]
    for name in (BACKENDS[0].name, MODES[0].name):
        assert name in words.out and name in streams.err


def test_generate_makes_the_video(folder: Path, capfd: Streams) -> None:
    assert main(["generate", *TALK, "--seed", "3", "--output", "out.mp4", "--json"]) == 0
    streams = capfd.readouterr()
    answer = json.loads(streams.out.splitlines()[-1])
    output = Path(answer["output"])
    assert output.resolve() == (folder / "out.mp4").resolve()
    assert set(answer) == {"output", "seconds", "effective", "notes"}
    assert answer["seconds"] > 0
    assert probe_video(output).frames == 10
    assert abs(probe_sound(output).seconds - 0.4) < 0.04
    assert "denoise, window 2/2" in streams.err.splitlines()
    assert str(folder) not in json.dumps(read_metadata(output))


def test_generate_tells_path_and_seconds_and_never_overwrites(folder: Path, capfd: Streams) -> None:
    (folder / "out.mp4").write_text("precious")
    flags = [
        "--task",
        "text_to_video",
        "--model",
        "tiny_t2v",
        "--set",
        "models_dir=tiny",
        "--num-frames",
        "5",
        "--steps",
        "1",
    ]
    assert main(["generate", *flags, "--output", "out.mp4", "--set", "apg=true"]) == 0
    streams = capfd.readouterr()
    path, seconds = streams.out.splitlines()
    assert Path(path).name == "out (2).mp4"
    assert seconds.endswith(" seconds")
    assert "Note: apg has no effect in text_to_video." in streams.err
    assert (folder / "out.mp4").read_text() == "precious"


class PressesStop(io.StringIO):
    """A stderr on which a person presses Ctrl+C as soon as some text appears."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def write(self, text: str) -> int:
        if self._at in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


@pytest.mark.parametrize(("at", "kept"), [("denoise, window 1/2", 0), ("denoise, window 2/2", 9)])
def test_stop_keeps_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: str, kept: int
) -> None:
    stderr = PressesStop(at)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["generate", *TALK, "--output", "out.mp4"]) == 3
    last = stderr.getvalue().splitlines()[-1]
    assert last.startswith("Stopped.")
    assert not (folder / "out.mp4").exists()
    parts = list(folder.glob("out_part*.mp4"))
    assert [probe_video(part).frames for part in parts] == ([kept] if kept else [])
    assert all(part.name in last for part in parts)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("debug", [False, True])
def test_failure_of_the_machine_is_one_line(
    capfd: Streams,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    debug: bool,
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")  # an ffmpeg that fails at whatever it is asked
    caplog.set_level("DEBUG", logger="wanvideo.cli")
    assert main(["generate", *TALK, "--output", "out.mp4", *["--debug"] * debug]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "Error: " in last and last.endswith("(--debug shows where)")
    assert "Traceback" in caplog.text


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    command: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    done = command(
        [sys.executable, "-m", "wanvideo", "generate", "--image", "nope.png"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
