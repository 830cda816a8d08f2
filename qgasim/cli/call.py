"""``qgasim call``: a small correct client."""

import argparse
from typing import Any

from qgasim.cli.parser import Parser, seconds
from qgasim.cli.text import complain, readable
from qgasim.cli.values import cut, read_json, read_pairs, write_json

__all__ = ["call"]


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
            return dict(read_json(words[0]))
        except ValueError as error:
            parser.error(f"not JSON: {cut(words[0])!r} ({error})")
    return read_pairs(parser, words)


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
    print(write_json(value))
    return 0
