"""The commands of ``qgasim ctl``: each asks the API, prints, and returns the exit status."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from qgasim.cli.ctl.api import Api, CtlError, part
from qgasim.cli.ctl.show import (
    paint,
    show_json,
    show_line,
    show_settings,
    show_table,
)
from qgasim.cli.parser import Parser
from qgasim.cli.values import read_pairs, write_json

__all__ = ["COMMANDS", "Call"]

#: How many entries of the journal are asked for at once: the API's limit.
_PAGE: Final = 1000
#: Which key the first word has the value of, if it has none.
_FIRST: Final = {"inject": "kind", "event": "do", "verify": "command", "wait": "command"}


class Call:
    """One call of the command line.

    Args:
        parser: for what is wrong with its words.
        options: the words.
        api: what is asked.
    """

    def __init__(self, parser: Parser, options: argparse.Namespace, api: Api) -> None:
        self._parser = parser
        self.options = options
        self.api = api
        self._guest: str | None = options.guest

    @property
    def is_json(self) -> bool:
        """Return whether JSON is printed."""
        return bool(self.options.json)

    @property
    def guest(self) -> str:
        """The path of the guest: the one that was named, or the only one there is.

        Raises:
            CtlError: none was named, and there are several, or none.
        """
        if self._guest is None:
            names = [guest["name"] for guest in self.api.get("/guests")]
            if len(names) != 1:
                shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
                there = f"there are {len(names)} guests: {shown}" if names else "there is no guest"
                raise CtlError(f"{there} (name one by --guest)" if names else there)
            (self._guest,) = names
        assert self._guest is not None
        return f"/guests/{part(self._guest)}"

    def said(self) -> Any:
        """Return what the words say, as the API takes it: YAML as it is, or a mapping."""
        first = _FIRST.get(self.options.command)
        words: list[str] = self.options.words
        if len(words) == 1 and words[0].startswith(("{", "@")):
            return _read(words[0][1:]) if words[0].startswith("@") else os.fsencode(words[0])
        if first is not None and "=" not in words[0]:
            words = [f"{first}={words[0]}", *words[1:]]
        try:
            return read_pairs(words)
        except ValueError as error:
            self.refuse(str(error))

    def print(self, answer: Any, line: str) -> int:
        """Print an answer as JSON, or *line* in its place; return 0."""
        if self.is_json:
            show_json(answer)
        elif line:
            show_line(line)
        return 0

    def refuse(self, text: str) -> NoReturn:
        """End with what is wrong with the words."""
        self._parser.error(text)


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CtlError(f"{path}: {error.strerror}") from None


# -- guests -----------------------------------------------------------------------------------------


def _guests(call: Call) -> int:
    found = call.api.get("/guests")
    if call.is_json:
        show_json(found)
        return 0
    keys = ("name", "state", "agent", "requests", "errors", "faults_fired", "address")
    heads = ("NAME", "STATE", "AGENT", "REQUESTS", "ERRORS", "FAULTS", "ADDRESS")
    show_table(heads, [[guest[key] for key in keys] for guest in found])
    return 0


def _new(call: Call) -> int:
    options = call.options
    scenario = options.scenario
    if scenario is not None and scenario.endswith((".yaml", ".yml")):
        scenario = _read(scenario).decode("utf-8", "replace")
        if "\n" not in scenario:
            scenario += "\n"  # of one line, it would be taken for a name
    body = {
        "name": options.name,
        "scenario": scenario,
        "agent": options.agent,
        "listen": options.listen,
        "qmp": options.qmp,
        "seed": options.seed,
    }
    made = call.api.post("/guests", {k: v for k, v in body.items() if v is not None})
    return call.print(made, " ".join([made["name"], made["address"], *made["qmp"]]))


def _rm(call: Call) -> int:
    for name in call.options.names:
        call.api.ask("DELETE", f"/guests/{part(name)}")
    return 0


def _patch(call: Call) -> int:
    return call.print(call.api.ask("PATCH", call.guest, call.said()), "")


def _reset(call: Call) -> int:
    return call.print(call.api.post(f"{call.guest}/reset"), "")


def _stop(call: Call) -> int:
    call.api.post("/stop")
    return 0


# -- faults, events, time ----------------------------------------------------------------------------


def _inject(call: Call) -> int:
    made = call.api.post(f"{call.guest}/faults", call.said())
    return call.print(made, f"fault {made['id']}")


def _faults(call: Call) -> int:
    found = call.api.get(f"{call.guest}/faults")
    if call.is_json:
        show_json(found)
        return 0
    rows: list[tuple[Any, ...]] = []
    for armed in found:
        state = "spent" if armed["is_spent"] else "on" if armed["is_on"] else "off"
        rows.append(
            (armed["id"], state, armed["seen"], armed["fired"], show_settings(armed["fault"]))
        )
    show_table(("ID", "STATE", "SEEN", "FIRED", "FAULT"), rows)
    return 0


def _clear(call: Call) -> int:
    for path in [f"/faults/{number}" for number in call.options.ids] or ["/faults"]:
        call.api.ask("DELETE", f"{call.guest}{path}")
    return 0


def _event(call: Call) -> int:
    made = call.api.post(f"{call.guest}/events", call.said())
    return call.print(made, f"{made['status']}, the guest is {made['state']}")


def _advance(call: Call) -> int:
    clock = call.api.post(f"{call.guest}/clock/advance", {"by": call.options.by})
    return call.print(clock, f"uptime {clock['uptime']:.3f}")


def _snapshot(call: Call) -> int:
    name = call.options.name
    if name is not None:
        return call.print(call.api.post(f"{call.guest}/snapshots", {"name": name}), "")
    found = call.api.get(f"{call.guest}/snapshots")
    if call.is_json:
        show_json(found)
    else:
        show_table(("NAME", "UPTIME"), [(each["name"], f"{each['uptime']:.3f}") for each in found])
    return 0


def _revert(call: Call) -> int:
    clock = call.api.post(f"{call.guest}/snapshots/{part(call.options.name)}/revert")
    return call.print(clock, f"uptime {clock['uptime']:.3f}")


# -- what clients did ----------------------------------------------------------------------------------


def _journal(call: Call) -> int:
    if call.options.follow:
        return _follow(call)
    entries = _pages(call)
    if call.is_json:
        show_json(list(entries))
        return 0
    for entry in entries:
        show_line(entry["line"])
    return 0


def _pages(call: Call) -> Iterator[dict[str, Any]]:
    after = call.options.after
    while True:
        page = call.api.get(
            f"{call.guest}/journal",
            after=after,
            command=call.options.only,
            limit=_PAGE,
            lines="true",
        )
        yield from page["entries"]
        if page["next"] >= page["latest"]:
            return
        after = page["next"]


def _follow(call: Call) -> int:
    """Print the journal as it is written, until the guest is deleted or the API ends."""
    if call.options.only is not None:
        call.refuse("--only: not with --follow")
    stream = call.api.stream(f"{call.guest}/journal/stream", last_event_id="0", lines="true")
    after = call.options.after
    for kind, said in stream:
        if kind == "reset":
            after = 0
        if kind == "lost":
            show_line(f"({said['count']} entries were missed)", "dim")
        elif kind == "deleted":
            return 0
        elif kind == "entry" and said["number"] > after:
            if call.is_json:
                print(write_json(said, indent=None), flush=True)
            else:
                show_line(said["line"], "red" if said.get("faults") else None)
    return 0


def _verify(call: Call) -> int:
    if call.options.in_order:
        path, body = "in-order", {"steps": call.options.words}
    else:
        path, body = ("never" if call.options.never else "verify"), call.said()
    verdict = call.api.post(f"{call.guest}/{path}", body)
    call.print(verdict, "")
    if not verdict["verified"] and not call.is_json:
        for line in verdict["message"].splitlines():
            show_line(line)
    return 0 if verdict["verified"] else 1


def _wait(call: Call) -> int:
    waited = call.api.ask("POST", f"{call.guest}/wait", call.said(), is_patient=True)
    is_reached = waited["reached"]
    call.print(
        waited, f"{'' if is_reached else 'the time is over, '}the guest is {waited['state']}"
    )
    return 0 if is_reached else 1


def _findings(call: Call) -> int:
    found = call.api.get(f"{call.guest}/findings")
    if call.is_json:
        show_json(found)
        return 0
    for finding in found:
        print(f"{paint(finding['name'], 'bold')}: ", end="")
        summary = finding["explanation"].partition("\n\n")[0]
        show_line(summary.replace("\n", " "))
        # A place has several lines if a note belongs to its request.
        for line in "\n".join(finding["found"]).split("\n"):
            show_line(f"  {line}")
        show_line(f"  Fix: {finding['remedy']}")
        show_line(f"  See {finding['page']}")
    return 0


COMMANDS: Final[dict[str, Callable[[Call], int]]] = {
    "guests": _guests,
    "new": _new,
    "rm": _rm,
    "patch": _patch,
    "reset": _reset,
    "stop": _stop,
    "inject": _inject,
    "faults": _faults,
    "clear": _clear,
    "event": _event,
    "advance": _advance,
    "snapshot": _snapshot,
    "revert": _revert,
    "journal": _journal,
    "verify": _verify,
    "wait": _wait,
    "findings": _findings,
}
