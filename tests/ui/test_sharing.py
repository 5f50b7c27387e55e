"""A shared page from the outside: logins, what its server gives away, a guest beside the owner, scripts."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio_client
import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.test_guides import python_blocks
from tests.tiny_models import write_tiny_models
from tests.ui.running_page import ask, log_in, running_page
from ui.doorkeeper import HEADERS, MAX_UPLOAD_BYTES
from ui.logins import FREE_GUESSES
from wanvideo.media.probe import probe_video

ROOT = Path(__file__).parents[2]
OWNER, GUEST = ("boss", "a:secret"), ("friend", "pass")
ROUTE = "/gradio_api/file="
BALL = {"task": "text_to_video", "prompt": "a red ball", "model": "tiny_t2v"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_tiny_models(folder / "models")
    (folder / "out" / "jobs").mkdir(parents=True)
    (folder / "out" / "trash").mkdir()
    (folder / "secret.txt").write_text("secret")
    (folder / "out" / "result.mp4").write_bytes(b"result")
    (folder / "out" / "trash" / "old.mp4").write_bytes(b"old")
    (folder / "out" / "link.mp4").symlink_to(folder / "secret.txt")
    (folder / "out" / "linked").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def port(home: Path) -> Iterator[int]:
    flags = ["--auth", ":".join(OWNER), "--guest", ":".join(GUEST), "--models-dir", str(home / "models")]
    with running_page(home, *flags) as port:
        yield port


@pytest.fixture(scope="module")
def owner(port: int) -> gradio_client.Client:
    return gradio_client.Client(f"http://127.0.0.1:{port}/", auth=OWNER, verbose=False)


@pytest.fixture(scope="module")
def guest(port: int) -> gradio_client.Client:
    return gradio_client.Client(f"http://127.0.0.1:{port}/", auth=GUEST, verbose=False)


def finished(client: gradio_client.Client, number: int) -> dict[str, Any]:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        job: dict[str, Any] = client.predict(number, api_name="/job")
        if job["state"] in ("done", "failed", "stopped"):
            assert job["state"] == "done", job["error"]
            return job
        time.sleep(0.3)
    raise AssertionError(f"job {number} did not end")


def test_nothing_is_served_before_the_login(port: int, home: Path) -> None:
    for path in ("/config", ROUTE + str(home / "out" / "result.mp4"), "/gradio_api/info"):
        assert ask(port, path).status == 401, path
    for path in ("/gradio_api/runs", "/gradio_api/run-history/buckets", "/monitoring"):
        assert ask(port, path).status in (401, 404), path
    assert ask(port, "/gradio_api/run-history/connect", post={}).status in (404, 405)


def test_the_owner_reads_results_and_nothing_else_of_the_disk(port: int, home: Path) -> None:
    boss = log_in(port, *OWNER)
    out = home / "out"
    assert ask(port, ROUTE + str(out / "result.mp4"), headers=boss).status == 200
    refused = [
        str(home / "secret.txt"),
        f"{out}/../secret.txt",
        f"{out}/%2e%2e/secret.txt",
        f"{out}/link.mp4",
        f"{out}/linked/secret.txt",
        f"{out}/linked/out/../secret.txt",
        f"{out}/result.mp4%00.txt",
        f"{out}/jobs/queue.sqlite",
        f"{out}/JOBS/queue.sqlite",
        f"{out}/trash/old.mp4",
        str(home / "models" / "tiny_t2v.safetensors"),
        str(ROOT / "app.py"),
        str(ROOT / "models" / "pocket" / "model.json"),
        "/etc/passwd",
        "/proc/self/environ",
        str(Path.home() / ".bashrc"),
        "file:///etc/passwd",
        "http://127.0.0.1:22/",
        quote("https://example.com/a.png", safe=""),
        "",
    ]
    found = {path: ask(port, ROUTE + path, headers=boss).status for path in refused}
    assert {path: status for path, status in found.items() if status not in (403, 404)} == {}


def test_every_answer_carries_the_security_headers(port: int) -> None:
    for path in ("/", "/config", "/nowhere"):
        answer = ask(port, path)
        for name, value in HEADERS:
            assert answer.getheader(name.decode()) == value.decode()


def test_another_site_cannot_send_in_a_visitor_s_name(port: int) -> None:
    boss = log_in(port, *OWNER)
    there = {**boss, "Sec-Fetch-Site": "cross-site"}
    here = {**boss, "Sec-Fetch-Site": "same-origin"}
    assert ask(port, "/gradio_api/queue/join", post={}, headers=there).status == 403
    assert ask(port, "/gradio_api/queue/join", post={}, headers=here).status not in (401, 403)
    assert ask(port, "/", headers=there).status == 200, "a link from elsewhere still opens the page"


def test_uploads_have_a_limit(port: int) -> None:
    boss = log_in(port, *OWNER)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/gradio_api/upload")
    for name, value in {
        **boss,
        "Content-Length": str(1 << 60),
        "Content-Type": "multipart/form-data",
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 507, "more than the disk holds"
    assert gradio_config(port, boss)["max_file_size"] == MAX_UPLOAD_BYTES


def gradio_config(port: int, headers: dict[str, str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/config", headers=headers)
    config: dict[str, Any] = json.loads(connection.getresponse().read())
    return config


def test_scripts_plan_make_and_fetch_a_video(owner: gradio_client.Client) -> None:
    settings = {**BALL, "seed": 4, "count": 2}
    planned = owner.predict(settings, api_name="/plan")
    assert planned["videos"] == 2 and planned["effective"]["quantization"]
    numbers = owner.predict(settings, api_name="/generate")
    assert len(numbers) == 2
    made = finished(owner, numbers[0])
    assert probe_video(made["video"]).frames == 9
    assert {job["number"] for job in owner.predict(api_name="/jobs")} >= set(numbers)


def test_a_guest_uploads_makes_and_sees_only_his_own(
    owner: gradio_client.Client, guest: gradio_client.Client, port: int, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "face.png")
    soundfile.write(tmp_path / "speech.wav", np.zeros(6400), 16000)
    talk = {
        "task": "talk",
        "model": "tiny_i2v",
        "image": gradio_client.handle_file(str(tmp_path / "face.png")),
        "audio": [gradio_client.handle_file(str(tmp_path / "speech.wav"))],
    }
    (theirs,) = owner.predict({**BALL, "seed": 9}, api_name="/generate")
    (own,) = guest.predict(talk, api_name="/generate")
    assert [job["number"] for job in guest.predict(api_name="/jobs")] == [own]
    for call in ("/job", "/stop"):
        with pytest.raises(Exception, match=f"no job {theirs}"):
            guest.predict(theirs, api_name=call)
    own_video, their_video = finished(guest, own)["video"], finished(owner, theirs)
    assert probe_video(own_video).frames
    friend = log_in(port, *GUEST)
    file = output_of(port, theirs)
    assert ask(port, ROUTE + file, headers=friend).status == 403 and their_video["video"]


def output_of(port: int, number: int) -> str:
    """Where the video of a job lies on the server."""
    client = gradio_client.Client(
        f"http://127.0.0.1:{port}/", auth=OWNER, verbose=False, download_files=False
    )
    return str(client.predict(number, api_name="/job")["video"]["path"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"image": "/etc/passwd", "task": "image_to_video", "prompt": "x", "model": "tiny_i2v"},
            "not uploaded",
        ),
        ({"image": {"path": "/etc/passwd"}, "task": "image_to_video", "model": "tiny_i2v"}, "not uploaded"),
        ({"model": "/etc/passwd"}, "unknown model"),
        ({"output_dir": "/tmp"}, "start flag"),
        ({"num_inference_steps": "many"}, "whole number"),
    ],
)
def test_scripts_are_refused_in_a_sentence(
    owner: gradio_client.Client, changes: dict[str, Any], said: str
) -> None:
    before = len(owner.predict(api_name="/jobs"))
    with pytest.raises(Exception, match=f"(?i){said}"):
        owner.predict({**BALL, **changes}, api_name="/generate")
    assert len(owner.predict(api_name="/jobs")) == before


def test_the_example_of_the_guide_runs(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    example = python_blocks(ROOT / "docs/python_api.md")[-1]
    for written, meant in (
        ("http://127.0.0.1:7860", f"http://127.0.0.1:{port}"),
        ('("me", "secret")', repr(OWNER)),
        ('"num_frames": 33', '"num_frames": 9, "model": "tiny_i2v"'),
    ):
        assert written in example
        example = example.replace(written, meant)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["job"]["state"] == "done" and "done" in capsys.readouterr().out
    assert probe_video(names["job"]["video"]).has_sound


def test_guessing_a_password_is_slowed_down(port: int) -> None:
    """Last: it locks this machine out for a while."""
    wrong = {"username": OWNER[0], "password": "guess"}
    answers = [ask(port, "/login", post=wrong) for _ in range(FREE_GUESSES + 1)]
    assert [answer.status for answer in answers] == [400] * FREE_GUESSES + [429]
    assert int(answers[-1].getheader("Retry-After") or 0) > 0
    right = {"username": OWNER[0], "password": OWNER[1]}
    assert ask(port, "/login", post=right).status == 429, "a right guess is not told from a wrong one"
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    assert ask(port, "/login", post=right, headers=elsewhere).status == 200, "others still come in"
