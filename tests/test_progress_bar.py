"""Progress for a terminal and for a log, and what a stop signal does."""

import io
import signal

import pytest

from wanvideo.errors import Cancelled
from wanvideo.progress_bar import ProgressBar, stoppable
from wanvideo.request import ProgressEvent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


EVENTS = [
    ProgressEvent(stage="text", windows=2),
    ProgressEvent(stage="denoise", windows=2),
    *(ProgressEvent(stage="denoise", windows=2, step=step, steps=4) for step in (1, 2)),
    ProgressEvent(stage="denoise", window=1, windows=2, step=4, steps=4),
    ProgressEvent(stage="join", message="writing"),
]


def drawn(stream: io.StringIO) -> str:
    bar = ProgressBar(stream)
    for event in EVENTS:
        bar(event)
    bar.close()
    bar.close()
    return stream.getvalue()


def test_progress_in_a_log_is_a_line_per_stage() -> None:
    lines = ["text, window 1/2", "denoise, window 1/2", "denoise, window 2/2", "join writing"]
    assert drawn(io.StringIO()).splitlines() == lines


def test_progress_on_a_terminal_rewrites_one_line() -> None:
    text = drawn(Terminal())
    assert text.count("\n") == 1
    assert "denoise, window 1/2 [############............] step 2/4, 0.00 s/step, 0:00 left" in text
    assert text.endswith("join writing\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_the_second_stops_at_once(number: signal.Signals) -> None:
    shown: list[str] = []
    before = signal.getsignal(number)
    with stoppable(lambda event: shown.append(event.stage)) as progress:
        progress(ProgressEvent(stage="load"))
        signal.raise_signal(number)
        with pytest.raises(Cancelled):
            progress(ProgressEvent(stage="denoise"))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert shown == ["load"]
    assert signal.getsignal(number) is before
