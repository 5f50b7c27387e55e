"""`models list`, `inspect` and `download` as a person types them: words, JSON, exit codes, the question."""

import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.downloads.hub_server import Served, StandIn
from tests.tiny_models import write_tiny_models
from wanvideo import cli_models_download
from wanvideo.cli import main
from wanvideo.cli_models import ACTIONS
from wanvideo.downloads import recipes
from wanvideo.downloads.catalog import UMT5_TOKENIZER, Recipe

Streams = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
CONTENT = bytes(2_000_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def known(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """One recipe of one file, which the stand-in hub has."""
    file = replace(
        UMT5_TOKENIZER, name="big", path="big.model", folder="vae", sha256=None, bytes=len(CONTENT)
    )
    monkeypatch.setattr(cli_models_download, "CONFIRM_ABOVE", len(CONTENT) - 1)
    monkeypatch.setitem(recipes.FILES, "big", file)
    monkeypatch.setitem(recipes.RECIPES, "one", Recipe(name="one", title="One", files=(file,)))
    server.serve(file, Served(CONTENT))


def listed(capfd: Streams, *flags: str) -> dict:
    assert main(["models", "list", "--json", *flags]) == 0, capfd.readouterr().err
    return json.loads(capfd.readouterr().out.splitlines()[-1])


def test_list_in_values(models: Path, capfd: Streams) -> None:
    answer = listed(capfd, "--models-dir", str(models))
    files = {Path(file["path"]).name: file for file in answer["files"]}
    assert files["tiny_i2v.safetensors"]["component"] == "transformer"
    assert files["tiny_i2v.safetensors"]["task"] == "i2v" and files["tiny_i2v.safetensors"]["usable"]
    assert {recipe["name"] for recipe in answer["recipes"]} == set(recipes.RECIPES)
    talk = next(recipe for recipe in answer["recipes"] if recipe["name"] == "talk-480p-fp8")
    assert not talk["complete"] and talk["missing_bytes"] == talk["bytes"]
    assert {"repository", "path", "licence", "confirmed"} <= set(talk["missing"][0])
    assert talk["settings"]["request"]["num_inference_steps"] == 4


def test_list_in_words(tmp_path: Path, capfd: Streams) -> None:
    (tmp_path / "odd.safetensors").write_bytes(b"odd")
    assert main(["models", "list", "--models-dir", str(tmp_path)]) == 0
    words = capfd.readouterr().out
    for recipe in recipes.RECIPES.values():
        assert recipe.title in words and recipe.licences in words
    assert "not usable: odd.safetensors" in words and "NOT CONFIRMED" in words


def test_inspect(models: Path, tmp_path: Path, capfd: Streams) -> None:
    assert main(["models", "inspect", str(models / "tiny_vae.safetensors"), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["component"] == "vae" and answer["dim"] == 8 and answer["parameters"] > 0
    assert main(["models", "inspect", str(models / "tiny_t2v.safetensors")]) == 0
    assert "component:" in capfd.readouterr().out
    (tmp_path / "odd.safetensors").write_bytes(b"odd")
    assert main(["models", "inspect", str(tmp_path / "odd.safetensors")]) == 2
    assert "is not a safetensors file" in capfd.readouterr().err


@pytest.mark.usefixtures("known")
def test_download_brings_a_recipe_once(tmp_path: Path, capfd: Streams) -> None:
    asked = ["models", "download", "one", "--yes", "--models-dir", str(tmp_path), "--json"]
    assert main(asked) == 0, capfd.readouterr().err
    (path,) = json.loads(capfd.readouterr().out)["brought"]
    assert Path(path) == tmp_path / "vae" / "big.model" and Path(path).read_bytes() == CONTENT
    assert main([*asked[:-1]]) == 0
    assert capfd.readouterr().out == "one is complete.\n"
    assert main(["models", "download", "big", "--yes", "--models-dir", str(tmp_path)]) == 0
    assert "was there already" in capfd.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("\n", 3), ("n\n", 3)])
def test_a_large_download_is_asked_about(
    tmp_path: Path, capfd: Streams, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["models", "download", "one", "--models-dir", str(tmp_path)]) == code
    assert "Download 2.0 MB into" in capfd.readouterr().err
    assert (tmp_path / "vae" / "big.model").exists() == (code == 0)


@pytest.mark.usefixtures("known")
def test_without_a_terminal_nobody_is_asked(
    tmp_path: Path, capfd: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["models", "download", "one", "--models-dir", str(tmp_path)]) == 2
    assert capfd.readouterr().err == "there is nobody to ask here. Add --yes.\n"


@pytest.mark.usefixtures("known")
def test_ctrl_c_stops_and_keeps_the_part(
    tmp_path: Path, capfd: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wanvideo.downloads.transfer import Meter

    at = Meter.at

    def interrupted(meter: Meter, done: int) -> None:
        if done > len(CONTENT) // 2:
            signal.raise_signal(signal.SIGINT)
        at(meter, done)
        meter.say("")

    monkeypatch.setattr(Meter, "at", interrupted)
    assert main(["models", "download", "one", "--yes", "--models-dir", str(tmp_path)]) == 3
    (part,) = tmp_path.rglob("*.part")
    assert len(CONTENT) // 2 < part.stat().st_size < len(CONTENT)
    assert "Stopped." in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", [[], ["nix"], ["download"], ["download", "nix"], ["verify"], ["list", "x"]]
)
def test_mistakes_are_one_line(command: list[str], capfd: Streams) -> None:
    assert main(["models", *command]) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_explains_itself(action: str, capfd: Streams) -> None:
    with pytest.raises(SystemExit):
        main(["models", action, "--help"])
    assert ACTIONS[action].help.partition(" ")[0] in capfd.readouterr().out


def test_list_loads_neither_torch_nor_the_network(models: Path) -> None:
    code = (
        "import sys; from wanvideo.cli import main; code = main(sys.argv[1:]);"
        'sys.exit(f\'{code} {({"torch", "httpx", "huggingface_hub", "gradio"} & set(sys.modules)) or 0}\')'
    )
    command = [sys.executable, "-c", code, "models", "list", "--models-dir", str(models)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "0 0"
