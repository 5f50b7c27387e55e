"""What stands behind start.sh and start.bat: prepare `.venv`, install what is missing, start the program.

Runs before anything is installed, so it uses the standard library only. What was finished leaves a stamp;
while it fits, nothing else is looked at. Without it the next start goes on where the last one broke off.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, this file's own folder is there instead
from tools.torch_choice import (  # noqa: E402
    CUDA_GIGABYTES,
    Machine,
    TorchChoice,
    choose_torch,
    explain_pip,
    is_installed,
    probe_machine,
    sage_packages,
)

VENV = ROOT / ".venv"
STAMP = VENV / "stamp.json"
OLDEST_PYTHON = (3, 11)  # diffusers 0.42 asks for it
COMMANDS = (  # those of wanvideo/cli.py
    *("demo", "generate", "plan", "hardware", "models", "export", "queue", "resume"),
    *("unload", "calibrate", "selftest", "bench"),
)
# Where an environment has its interpreter: venv and conda on Linux, venv on Windows, conda on Windows
PYTHON_PLACES = ("bin/python", "Scripts/python.exe", "python.exe")
TESTS = ["-m", "pytest"]
TEST_PROCESSES = 2  # tiny tensors gain little from threads; a file's tests stay in one, with its fixtures
WHOLE_SUITE_FLAG = re.compile(r"-[qvx]+|--(durations|junitxml|maxfail)[\w-]*=.+")


class SetupError(Exception):
    """Something the person at the keyboard can put right; shown as it is. `code` is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        self.code = code
        super().__init__(text)


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["--python"]:
            if len(arguments) < 2:
                raise SetupError("--python needs the path of a Python or of an environment.", 2)
            return start(existing_python(arguments[1]), target_of(arguments[2:]))
        target = target_of(arguments)
        prepare(dev=arguments[:1] == ["test"])
        return start(venv_python(), spread_tests(target))
    except SetupError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        say("Stopped. Start again to go on.")
        return 3


def say(text: str) -> None:
    sys.stderr.write(f"[start] {text}\n")
    sys.stderr.flush()


def target_of(arguments: list[str]) -> list[str]:
    """Arguments of start.sh -> arguments of Python. No word or only flags: the page."""
    word = arguments[0] if arguments else ""
    if word == "test":
        return [*TESTS, *arguments[1:]]
    if word in COMMANDS:
        return ["-m", "wanvideo", *arguments]
    if not word or word.startswith("-"):
        return [str(ROOT / "app.py"), *arguments]
    raise SetupError(
        f"Unknown command {word!r}; known: test, {', '.join(COMMANDS)}, or flags of the page.", 2
    )


def spread_tests(target: list[str]) -> list[str]:
    """The whole suite runs in several processes where there are cores for them; a choice of tests, such as
    those that measure a card or drive a browser, in one.
    """
    if target[:2] != TESTS or not all(map(WHOLE_SUITE_FLAG.fullmatch, target[2:])):
        return target
    if (os.cpu_count() or 1) < TEST_PROCESSES:
        return target
    return [*target, "-n", str(TEST_PROCESSES), "--dist", "loadfile"]


def existing_python(path: str) -> str:
    """The interpreter of an environment that is used as it is; only what is missing altogether stops it."""
    inside = [Path(path) / place for place in PYTHON_PLACES]
    python = next((str(file) for file in inside if file.exists()), path)
    names = ("torch", "diffusers", "transformers", "accelerate", "gradio", "av", "librosa", "imageio_ffmpeg")
    code = f"import importlib.util as u; print('found', *(n for n in {names} if u.find_spec(n) is None))"
    try:
        _, *missing = _output(python, code).split()
    except (OSError, ValueError):
        raise SetupError(f"--python {path}: no working Python there.", 2) from None
    if missing:
        lacks = ", ".join(missing)
        raise SetupError(f"--python {path} lacks {lacks}: install them there as requirements.txt names them.")
    return python


def start(python: str, target: list[str]) -> int:
    """Runs in the caller's folder, where the caller's relative paths hold; the tests run in ours."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if target[:2] == TESTS:
        os.chdir(ROOT)
        if "-n" in target:
            environment["OMP_NUM_THREADS"] = "1"  # the processes share the cores
    if os.name != "nt":
        os.execvpe(python, [python, *target], environment)
    # exec on Windows would give the console back at once
    program = subprocess.Popen([python, *target], env=environment)
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return program.wait()


def prepare(dev: bool) -> None:
    """Makes `.venv` hold what requirements.txt names, and requirements-dev.txt for `dev`."""
    wish = os.environ.get("TORCH_INDEX_URL")
    if is_current(_read_stamp(), wanted_stamp(dev, wish)):
        return
    STAMP.unlink(missing_ok=True)
    _make_venv()
    machine = probe_machine()
    _install_torch(reachable_choice(choose_torch(machine, wish), wish))
    say("Installing the other packages.")
    _pip("-r", str(ROOT / "requirements.txt"), *(["-r", str(ROOT / "requirements-dev.txt")] if dev else []))
    _install_sage(machine)
    partial = STAMP.with_suffix(".part")
    partial.write_text(json.dumps(wanted_stamp(dev, wish)), "utf-8")
    partial.replace(STAMP)
    say("Everything is installed.")


def wanted_stamp(dev: bool, wish: str | None) -> dict[str, str]:
    names = ["requirements.txt", "requirements-dev.txt"] if dev else ["requirements.txt"]
    stamp = {name: hashlib.sha256((ROOT / name).read_text("utf-8").encode()).hexdigest() for name in names}
    stamp["python"] = _venv_version()
    stamp["nvidia"] = str(shutil.which("nvidia-smi") is not None)
    return stamp if wish is None else {**stamp, "torch_index": wish.strip()}


def is_current(found: dict[str, str], wanted: dict[str, str]) -> bool:
    """Every wanted entry stands in the stamp. An unset TORCH_INDEX_URL wants none: any build will do."""
    return all(found.get(key) == value for key, value in wanted.items())


def _read_stamp() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(STAMP.read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def reachable_choice(choice: TorchChoice, wish: str | None) -> TorchChoice:
    """Refuses a build the card can't run; leaves a silent index for pip's own where that has the build."""
    if wish is not None:
        if choice.problem:
            say(f"Warning: {choice.problem}. Going on, as TORCH_INDEX_URL is set.")
        return choice
    if choice.problem:
        raise SetupError(f"Nothing was downloaded: {choice.problem}.")
    if choice.index is None or _answers(choice.index):
        return choice
    if os.name == "nt":
        raise SetupError(f"{choice.index} does not answer: check the network, or set TORCH_INDEX_URL.")
    say(
        f"Warning: {choice.index} does not answer; pip's own index is used (with gigabytes of CUDA packages)."
    )
    return TorchChoice(None, CUDA_GIGABYTES)


def _answers(index: str) -> bool:
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=10):
            return True
    except OSError:
        return False


def venv_python() -> str:
    return str(VENV / "Scripts" / "python.exe" if os.name == "nt" else VENV / "bin" / "python")


def _venv_version() -> str:
    """`3.12`, from the environment's own note; empty when it, or the Python under it, is gone."""
    config = VENV / "pyvenv.cfg"
    if not (config.is_file() and Path(venv_python()).exists()):
        return ""
    found = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", config.read_text("utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def _make_venv() -> None:
    if _venv_version() and _output(venv_python(), "import pip; print(pip.__version__)"):
        return
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(f"Python {version} is too old: 3.11 or newer is needed.")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError(f"Python's venv module is missing; on Debian: sudo apt install python{version}-venv")
    say(f"Making {VENV} with Python {version}.")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=sys.stderr):
        raise SetupError(f"{VENV} could not be made; the reason stands above.")


def _install_torch(choice: TorchChoice) -> None:
    found = re.search(r"^torch==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    if not found:
        raise SetupError("requirements.txt does not pin torch; restore the file.")
    pin = found.group(1)
    installed = _output(venv_python(), "from importlib.metadata import version; print(version('torch'))")
    if is_installed(installed, pin, choice.index):
        return
    free = shutil.disk_usage(ROOT).free / 1024**3
    if free < choice.gigabytes:
        raise SetupError(f"{ROOT} has {free:.1f} GB free, the installation needs {choice.gigabytes} GB.")
    say(f"Installing torch {pin} from {choice.index or 'the index that pip is set to'}; this takes minutes.")
    arguments = ["--index-url", choice.index] if choice.index else []
    # pip takes another build of the same version for the same thing
    _pip(*arguments, *(["--force-reinstall"] if installed else []), f"torch=={pin}")


def _install_sage(machine: Machine) -> None:
    """Attention is exact, and slower, without it: a failure is told and stops nothing."""
    code = (
        "import importlib.util as u, torch; "
        "names = [n for n in ('sageattention', 'triton') if u.find_spec(n)]; "
        "print(*names, 'cuda' if torch.version.cuda else '')"
    )
    packages = sage_packages(machine, _output(venv_python(), code).split()) if machine.driver else []
    if not packages:
        return
    say(f"Installing {' and '.join(packages)}, for faster attention.")
    problem = _run_pip("--no-deps", *packages)
    if problem:
        say(f"Warning: it was not installed, and everything runs without it. {problem}")


def _output(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def _pip(*arguments: str) -> None:
    """Raises SetupError with the reason."""
    problem = _run_pip(*arguments)
    if problem:
        raise SetupError(f"{problem} What is installed stays; start again to go on.")


def _run_pip(*arguments: str) -> str:
    """Why pip failed, in a sentence; empty when all is installed.

    Ready-made packages only: nothing may need a compiler. stdout stays free for the started program.
    """
    command = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    command += [] if sys.stderr.isatty() else ["--quiet"]
    lines = []
    with subprocess.Popen(
        [*command, *arguments], stdout=sys.stderr, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as pip:
        for line in pip.stderr or ():
            sys.stderr.write(line)
            lines.append(line)
    return explain_pip("".join(lines), _venv_version()) if pip.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
