"""``qgasim call``: a small correct client."""

import argparse
import json
import sys
from typing import Any, Final

from qgasim.cli.parser import Parser, seconds
from qgasim.cli.text import complain, readable

__all__ = ["call"]

#: So much of a wrong word is shown.
_WIDTH: Final = 100
#: What some terminals take for commands, and JSON may have as it is.
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def call(arguments: list[str]) -> int:
    parser = Parser(
        prog="qgasim call",
        description="Ask an agent, simulated or real, and print what it returns as JSON.",
    )
    parser.add_argument(
        "socket", metavar="SOCKET", help="the path of the agent's unix socket, or unix:PATH"
    )
    parser.add_argument("command", metavar="COMMAND", help="what to execute, as in guest-ping")
    parser.add_argument(
        "arguments",
        metavar="key=value|JSON",
        nargs="*",
        default=[],
        help="its arguments, as in path=/etc/hostname 'arg=[\"-l\"]', or as one JSON object; "
        "a value is taken as JSON if it is any, else as a string",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=5.0,
        metavar="S",
        help="seconds to wait for each answer (default: 5)",
    )
    parser.add_argument(
        "--no-reply", action="store_true", help="do not wait: guest-shutdown answers nothing"
    )
    options = parser.parse_args(arguments)
    options.socket = options.socket.removeprefix("unix:")
    if not options.socket:
        parser.error("SOCKET: expected the path of a unix socket, found ''")
    if options.socket.startswith(("tcp:", "vsock:")):
        parser.error(f"SOCKET: expected the path of a unix socket, found {options.socket!r}")
    return _call_agent(options, _command_arguments(parser, options.arguments))


def _command_arguments(parser: Parser, words: list[str]) -> dict[str, Any]:
    if len(words) == 1 and words[0].startswith("{"):
        try:
            return dict(_read_json(words[0]))
        except ValueError as error:
            parser.error(f"not JSON: {_cut(words[0])!r} ({error})")
    result: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            parser.error(f"expected key=value, found {_cut(word)!r}")
        if key in result:
            parser.error(f"{_cut(key)!r} is given twice")
        try:
            result[key] = _read_json(value)
        except ValueError:
            result[key] = value
    return result


def _cut(word: str) -> str:
    return word if len(word) <= _WIDTH else f"{word[:_WIDTH]}..."


def _read_json(text: str) -> Any:
    """Read JSON; ValueError if it is none."""

    def refuse(name: str) -> None:
        raise ValueError(f"no value of JSON: {name}")

    try:
        # Python's own would take NaN for a number.
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("too many levels") from None


def _call_agent(options: argparse.Namespace, arguments: dict[str, Any]) -> int:
    from qgasim.client.blocking import SyncClient, unwrap
    from qgasim.errors import ClientError

    message: dict[str, Any] = {"execute": options.command}
    if arguments:
        message["arguments"] = arguments
    try:
        with SyncClient(options.socket, options.timeout) as client:
            if options.no_reply:
                client.send(message)
                return 0
            reply = client.request(message)
    except ClientError as error:
        complain(readable(str(error)), "qgasim call: ")
        return 1
    try:
        value = unwrap(reply)
    except ClientError as error:
        complain(readable(str(error)))
        return 1
    print(_write_json(value))
    return 0


def _write_json(value: Any) -> str:
    """Write JSON with the characters that the standard output has, the others as escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False).translate(_CONTROLS)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text
