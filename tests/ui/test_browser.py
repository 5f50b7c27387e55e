"""A newcomer's first minute in a real Chromium: an example, a click, a video; the same after a reload."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_tiny_models
from tests.ui.test_app import wait_for_answer
from wanvideo.downloads.added_folders import VARIABLE

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page over tiny models."""
    home = tmp_path_factory.mktemp("home")
    models = write_tiny_models(home / "models")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--port", str(port), "--output-dir", str(home / "out"), "--models-dir", str(models)]
    environment = {**os.environ, VARIABLE: str(home / "config")}
    server = subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, env=environment)
    try:
        assert wait_for_answer(f"http://127.0.0.1:{port}/config") == 200
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in SWITCHES:
        options.add_argument(switch)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_window_size(1280, 1000)
    yield opened
    opened.quit()


def wait_until(browser: Any, condition: Callable[[Any], object], seconds: float = 60) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds).until(condition)


def text_of(browser: Any, element: str) -> str:
    found = browser.find_elements("css selector", f"#{element}")
    return str(found[0].text) if found else ""


def click(browser: Any, selector: str) -> None:
    wait_until(browser, lambda page: page.find_elements("css selector", selector))
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def choose_model(browser: Any, name: str) -> None:
    """By hand, as the bundled model would be the automatic choice."""
    click(browser, "[role=tab]:nth-of-type(2)")
    click(browser, "#model input")
    click(browser, f"[role=option][aria-label={name}]")
    click(browser, "[role=tab]:nth-of-type(1)")


def test_an_example_becomes_a_video_that_a_reload_still_shows(browser: Any, address: str) -> None:
    browser.get(address)
    wait_until(browser, lambda page: "click an example" in text_of(page, "forecast"))
    choose_model(browser, "tiny_i2v")
    click(browser, "#examples button")
    wait_until(browser, lambda page: "frames at 25 fps" in text_of(page, "forecast"))
    click(browser, "#generate")
    wait_until(browser, lambda page: "running" in text_of(page, "queue"))
    wait_until(browser, lambda page: "done" in text_of(page, "queue"), 120)
    wait_until(browser, lambda page: page.find_elements("css selector", "#video video"))
    length = "return document.querySelector('#video video').duration"
    wait_until(browser, lambda page: (page.execute_script(length) or 0) > 2)
    browser.get(address)
    wait_until(browser, lambda page: "made in" in text_of(page, "result"))


def test_a_running_job_is_stopped_from_another_tab(browser: Any, address: str) -> None:
    browser.get(address)
    choose_model(browser, "tiny_i2v")
    click(browser, "#examples button")
    wait_until(browser, lambda page: "frames at 25 fps" in text_of(page, "forecast"))
    click(browser, "#generate")
    wait_until(browser, lambda page: "running" in text_of(page, "queue"))
    browser.switch_to.new_window("tab")
    browser.get(address)
    click(browser, "#stop")
    wait_until(browser, lambda page: "stopped" in text_of(page, "queue"))


def test_a_task_shows_only_its_inputs(browser: Any, address: str) -> None:
    browser.get(address)
    click(browser, ".segments label:nth-of-type(3)")
    wait_until(browser, lambda page: "Write what happens" in text_of(page, "forecast"))
    shown = browser.find_element("css selector", ".columns").text
    assert "Speech" not in shown and "Picture" not in shown and "Prompt" in shown


def test_a_preset_fills_the_form_and_one_s_own_outlives_a_reload(browser: Any, address: str) -> None:
    browser.get(address)
    click(browser, "#examples button")
    wait_until(browser, lambda page: "frames at 25 fps" in text_of(page, "forecast"))
    click(browser, "[role=tab]:nth-of-type(2)")
    choose_preset(browser, "InfiniteTalk FP4 test")
    wait_until(browser, lambda page: "16 a second" in text_of(page, "preset-card"))
    click(browser, "#apply")
    wait_until(browser, lambda page: value_of(page, "#memory input") == "40")
    click(browser, "#my-presets button")
    name = browser.find_element("css selector", "#my-presets textarea, #my-presets input")
    name.send_keys("Mine")
    click(browser, "#preset-save")
    wait_until(browser, lambda page: "Mine" in value_of(page, "#preset input"))
    browser.get(address)
    click(browser, "[role=tab]:nth-of-type(2)")
    choose_preset(browser, "Mine")
    click(browser, "#my-presets button")
    click(browser, "#preset-delete")
    wait_until(browser, lambda page: "Recommended" in value_of(page, "#preset input"))


def choose_preset(browser: Any, label: str) -> None:
    click(browser, "#preset input")
    click(browser, f"[role=option][aria-label$='{label}']")


def value_of(browser: Any, selector: str) -> str:
    """What stands in the first such input that takes text."""
    found = browser.find_elements("css selector", f"{selector}:not([type=checkbox])")
    return str(found[0].get_attribute("value")) if found else ""
