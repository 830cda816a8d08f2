"""docs/control.md: every route of the control API, made of the routes' signatures."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct

from qgasim.agent.stubs import Stub
from qgasim.control.api import ROUTES
from qgasim.control.language import Said
from qgasim.faults import AnyFault
from qgasim.http.routes import Answer, EventStream, Route
from qgasim.simulation.timeline import AnyEvent

__all__ = ["make_control_page"]

INTRODUCTION = """\
# The control API

<!-- Made by docs/control_page.py (`make docs`) from qgasim/control/api/; do not edit. -->

Everything that a test in Python can do with a guest, for programs in any language: `--control` serves an API over HTTP
beside the guest, or the fleet.

```console
$ qgasim --listen unix:/tmp/qga.sock --control unix:/tmp/control.sock
qemu-ga 7.2.22 in guest 'debian', seed 0
listening on /tmp/qga.sock
control at unix:/tmp/control.sock
...
$ curl -sS --unix-socket /tmp/control.sock localhost/v1/guests/guest/faults -d '{"kind": "error", "on": "guest-ping", "desc": "not now", "times": 1}'
{"id":1,"fault":{"kind":"error","on":"guest-ping","times":1,"desc":"not now"},"seen":0,"fired":0,"is_on":true,"is_spent":false}
$ qgasim call /tmp/qga.sock guest-ping
GenericError: not now
$ qgasim call /tmp/qga.sock guest-ping
{}
$ curl -sS --unix-socket /tmp/control.sock localhost/v1/guests/guest/clock/advance -d '{"by": "1h"}'
{"uptime":36...}
$ curl -sS --unix-socket /tmp/control.sock localhost/v1/guests/guest/events -d '{"do": "reboot"}'
{"status":"happened","event":{"do":"reboot"},"state":"rebooting"}
$ curl -sS --unix-socket /tmp/control.sock localhost/v1/guests/guest/wait -d '{"state": "up"}'
{"reached":true,"state":"up",...}
$ curl -sS --unix-socket /tmp/control.sock localhost/v1/guests/guest/verify -d '{"command": "guest-ping", "times": 2}'
{"verified":true,"message":""}
```

A guest that is none of a fleet is called `guest`; the guests of a fleet have the names that the scenario gives them. With
`--ready-fd`, the line of JSON has `control`, the address of the API, and for one guest `name`.

- **Bodies** are JSON or YAML (`Content-Type: application/yaml`), in the language of [scenarios](scenario.md): `30s`, `16MiB`.
  JSON is also taken for what `curl -d` sends. A path of a file follows `files/` as it is.
- **Problems** are those of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457): `detail` says what is wrong, where, and what
  was probably meant; `errors` has everything that is wrong, with `line` and `column` where the body is YAML.
- **Streams** are server-sent events. After a break, `Last-Event-ID` goes on where the client was; a client that fell too far
  behind is told by `event: lost` how many events it has missed. A client that does not read delays no other.
- **The document** at `/v1/openapi.json` says all this to generators of clients (OpenAPI 3.1).

## Access

- `--control unix:PATH`: the socket's mode is 0600.
- `--control tcp:PORT`: on this machine only. Web pages of other sites are refused (`Origin`), as are names that were made to
  lead here (`Host`). Other users of the machine can connect: use a unix socket or a token where that matters.
- `--control tcp:HOST:PORT`, where other machines can connect, needs `--control-token FILE`: requests then have
  `Authorization: Bearer TOKEN`. The token has at least 16 characters. The API speaks no TLS.

A scenario that is sent names no files of the machine, and extends only scenarios that come with qgasim. At most 64 clients
are connected; a body has at most 16 MiB, a request must come within 30 s.
"""
#: What a body is that has a page of its own.
ELSEWHERE = {
    AnyFault: "a [fault](faults.md)",
    Stub: "a [stub](scenario.md#stubs)",
    AnyEvent: "an [event](scenario.md#faults-and-events)",
    bytes: "the contents of the file",
}


def make_control_page(table: Callable[[type[Struct], set[str]], str]) -> str:
    """Return the page; *table* makes the table of a Struct."""
    parts = [INTRODUCTION]
    chapter = ""
    shown: set[type[Struct]] = set()
    for route in ROUTES:
        if route.chapter != chapter:
            chapter = route.chapter
            parts += [f"## {chapter}", ""]
        parts += [*show_route(route, table, shown)]
    return "\n".join(parts).rstrip("\n") + "\n"


def show_route(
    route: Route, table: Callable[[type[Struct], set[str]], str], shown: set[type[Struct]]
) -> Iterator[str]:
    yield from (f"### {route.method} {route.path.replace(':path}', '}')}", "", route.text, "")
    if route.query is not None:
        yield from ("Behind the question mark:", "", table(route.query, set()), "")
    body = body_of(route.body)
    if body in ELSEWHERE:
        yield from (f"Body: {ELSEWHERE[body]}.", "")
    elif body is not None:
        yield from ("Body:", "", table(body, set()), "")
    yield from show_answer(route, table, shown)
    for status, text in sorted(route.problems.items()):
        yield from (f"{status}: {text}", "")


def show_answer(
    route: Route, table: Callable[[type[Struct], set[str]], str], shown: set[type[Struct]]
) -> Iterator[str]:
    returns = route.returns
    is_list = get_origin(returns) is list
    if is_list:
        (returns,) = get_args(returns)
    if returns in (Answer, EventStream):
        types = " or ".join(f"`{kind}`" for kind in (route.produces, *route.alternatives))
        yield from (f"Answer: {types}.", "")
    elif isinstance(returns, type) and issubclass(returns, Struct):
        what = f"a list of `{returns.__name__}`" if is_list else f"`{returns.__name__}`"
        if returns in shown:
            yield from (f"Answer ({route.status}): {what}, as above.", "")
        else:
            shown.add(returns)
            yield from (
                f"Answer ({route.status}): {what}.",
                "",
                without_defaults(table(returns, set())),
                "",
            )
    elif route.status == 204:
        yield from ("Answer: nothing (204).", "")


def without_defaults(table: str) -> str:
    """Leave out the column of defaults: what is answered is all there."""
    rows = [line.split(" | ") for line in table.splitlines()]
    return "\n".join(" | ".join([*row[:2], *row[3:]]) for row in rows)


def body_of(hint: Any) -> Any:
    """Return what a body is read as at last."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return next((mark.what for mark in marks if isinstance(mark, Said)), inner)
    return hint
