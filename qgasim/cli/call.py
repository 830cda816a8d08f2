"""``qgasim call``: a small correct client."""

import argparse
import json
import sys
from typing import Any

from qgasim.cli.parser import Parser, seconds

__all__ = ["call"]


def call(arguments: list[str]) -> int:
    parser = Parser(
        prog="qgasim call",
        description="Ask an agent, simulated or real, and print what it returns as JSON.",
    )
    parser.add_argument("socket", metavar="SOCKET", help="the agent's unix socket")
    parser.add_argument("command", metavar="COMMAND", help="as in guest-ping")
    parser.add_argument(
        "arguments",
        metavar="key=value|JSON",
        nargs="*",
        default=[],
        help="arguments; a value is taken as JSON if it is any, else as a string",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S", help="seconds to wait (default: 5)"
    )
    parser.add_argument(
        "--no-reply", action="store_true", help="do not wait: guest-shutdown answers nothing"
    )
    options = parser.parse_args(arguments)
    return _call_agent(options, _command_arguments(parser, options.arguments))


def _command_arguments(parser: Parser, words: list[str]) -> dict[str, Any]:
    if len(words) == 1 and words[0].startswith("{"):
        try:
            return dict(json.loads(words[0]))
        except ValueError as error:
            parser.error(f"not JSON: {words[0]!r} ({error})")
    result: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            parser.error(f"expected key=value, found {word!r}")
        try:
            result[key] = json.loads(value)
        except ValueError:
            result[key] = value
    return result


def _call_agent(options: argparse.Namespace, arguments: dict[str, Any]) -> int:
    from qgasim.client import SyncClient
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
        print(f"qgasim call: {error}", file=sys.stderr)
        return 1
    if "error" in reply:
        refused = reply["error"]
        print(f"{refused.get('class')}: {refused.get('desc')}", file=sys.stderr)
        return 1
    print(json.dumps(reply.get("return"), indent=2, ensure_ascii=False))
    return 0
