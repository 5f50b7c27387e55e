"""One visitor of a running page, over HTTP: opens it, and causes its events as the browser's code would."""

import http.client
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`seconds` from the request to the last byte of its outcome, and `size` in bytes. `changes`: what the
    page was told to change, by elem_id or number of the component.
    """

    seconds: float
    size: int
    changes: Mapping[str, Any] = field(default_factory=dict)


class Visit:
    """A visitor of the page at `port`. Raises RuntimeError where the server refuses or an event fails."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = uuid.uuid4().hex
        config = json.loads(self._get("/config")[1])
        self._components = {component["id"]: component for component in config["components"]}
        self._events = config["dependencies"]

    def open(self) -> Answer:
        """The page itself, as it is sent before anything in it moves."""
        begun = time.perf_counter()
        status, body = self._get("/")
        if status != 200:
            raise RuntimeError(f"the page answered {status}")
        return Answer(seconds=time.perf_counter() - begun, size=len(body))

    def cause(self, event: str, part: str, entered: Mapping[str, Any] | None = None) -> Answer:
        """The event of that name of the component with the elem_id `part`, else the one that writes to it.
        `entered` has the values of widgets by label, or by kind where there is none; the others are as the
        page came.
        """
        found = self._event(event, part)
        typed = dict(entered or {})
        given = [self._value(number, typed) for number in found["inputs"]]
        if typed:
            raise RuntimeError(f"no such widget: {', '.join(typed)}")
        begun = time.perf_counter()
        self._post({"data": given, "fn_index": found["id"], "session_hash": self._session})
        size, outcome = self._outcome()
        seconds = time.perf_counter() - begun
        if not outcome["success"]:
            raise RuntimeError(f"{event} failed: {outcome['output']}")
        pairs = zip(found["outputs"], outcome["output"]["data"], strict=True)
        changes = {self._name(number): value for number, value in pairs if not _is_unchanged(value)}
        return Answer(seconds=seconds, size=size, changes=changes)

    def _event(self, event: str, part: str) -> Mapping[str, Any]:
        for way in ("targets", "outputs"):
            for found in self._events:
                starts = {name: number for number, name in found["targets"]}
                touched = [starts.get(event)] if way == "targets" else found["outputs"]
                if event in starts and part in map(self._name, touched):
                    return dict(found)
        raise RuntimeError(f"the page has no event {event} of {part}")

    def _name(self, number: int) -> str:
        return self._components.get(number, {}).get("props", {}).get("elem_id") or str(number)

    def _value(self, number: int, typed: dict[str, Any]) -> Any:
        component = self._components[number]
        props = component["props"]
        return typed.pop(props.get("label") or component["type"], props.get("value"))

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def _post(self, message: Mapping[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_SECONDS)
        kind = {"Content-Type": "application/json"}
        connection.request("POST", "/gradio_api/queue/join", json.dumps(message), kind)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the event was answered {answer.status}: {body[:200]!r}")

    def _outcome(self) -> tuple[int, Mapping[str, Any]]:
        """Bytes that came, and the message that ends the event."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_SECONDS)
        connection.request("GET", f"/gradio_api/queue/data?session_hash={self._session}")
        size = 0
        for line in connection.getresponse():
            size += len(line)
            message = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if message.get("msg") == "process_completed":
                connection.close()
                return size, message
        raise RuntimeError("the server closed the event without an outcome")


def _is_unchanged(value: Any) -> bool:
    """Gradio's words for an output that an event leaves as it is; state never leaves the server."""
    nothing = {"__type__": "update"}
    return value is None or value == nothing or value == {"props": nothing, **nothing}
