"""``qgasim call``: a small correct client."""

import argparse
import base64
import sys
from typing import Any, Final, cast

from qgasim.cli.parser import Parser, add_address, add_timeout
from qgasim.cli.text import complain, readable, readable_lines
from qgasim.cli.values import cut, read_json, read_pairs, write_json

__all__ = ["call", "print_value", "read_arguments"]

#: The members of replies that have bytes as base64.
_ENCODED: Final = ("-data", "-b64")


def call(arguments: list[str]) -> int:
    parser = Parser(
        prog="qgasim call",
        description="Ask an agent, simulated or real, and print what it returns as JSON.",
    )
    add_address(parser)
    parser.add_argument("command", metavar="COMMAND", help="what to execute, as in guest-ping")
    parser.add_argument(
        "arguments",
        metavar="key=value|JSON",
        nargs="*",
        default=[],
        help="its arguments, as in path=/etc/hostname 'arg=[\"-l\"]', or as one JSON object; "
        "a value that is valid JSON is read as JSON, any other as a string",
    )
    add_timeout(parser)
    parser.add_argument(
        "--no-reply", action="store_true", help="do not wait for a reply: guest-shutdown sends none"
    )
    options = parser.parse_args(arguments)
    try:
        given = read_arguments(options.arguments)
    except ValueError as error:
        parser.error(str(error))
    return _call_agent(options, given)


def read_arguments(words: list[str]) -> dict[str, Any]:
    """Return a command's arguments: ``key=value`` each, or one JSON object; ValueError if they are neither."""
    if len(words) == 1 and words[0].startswith("{"):
        try:
            return dict(read_json(words[0]))
        except ValueError as error:
            raise ValueError(f"not JSON: {cut(words[0])!r} ({error})") from None
    return read_pairs(words)


def _call_agent(options: argparse.Namespace, arguments: dict[str, Any]) -> int:
    from qgasim.client.blocking import SyncClient, unwrap
    from qgasim.errors import ClientError

    message: dict[str, Any] = {"execute": options.command}
    if arguments:
        message["arguments"] = arguments
    try:
        with SyncClient(options.address, options.timeout) as client:
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
    print_value(value)
    return 0


def print_value(value: Any) -> None:
    """Print what a command returns as JSON; on a terminal, then what is in it as base64, decoded."""
    print(write_json(value))
    if sys.stdout is not None and sys.stdout.isatty() and isinstance(value, dict):
        for name, data in cast("dict[str, Any]", value).items():
            if name.endswith(_ENCODED) and isinstance(data, str) and data:
                _print_decoded(name, data)


def _print_decoded(name: str, data: str) -> None:
    try:
        decoded = base64.b64decode(data, validate=True)
    except ValueError:
        return
    print(f"{readable(name)}, {len(decoded)} bytes:")
    print(readable_lines(decoded.removesuffix(b"\n")))
