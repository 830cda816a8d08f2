"""``qgasim replay``: answer from a recorded conversation."""

import argparse
from typing import TYPE_CHECKING

from qgasim.cli.options import serve_parser
from qgasim.cli.serve import serve_as

if TYPE_CHECKING:
    from qgasim.scenario import Blueprint, Scenario

__all__ = ["replay"]


def replay(arguments: list[str]) -> int:
    """Serve a recording until SIGINT or SIGTERM."""
    parser = serve_parser(
        "qgasim replay",
        "Answer from a recorded conversation (qgasim record --conversation), until SIGINT or SIGTERM.\n"
        "The scenario's faults and replies stand in front.",
        "",
    )
    parser.add_argument("recording", metavar="FILE", help="the recording: a JSON object per line")
    order = parser.add_mutually_exclusive_group()
    order.add_argument(
        "--strict",
        action="store_true",
        help="requests must come exactly as recorded, in that order",
    )
    order.add_argument(
        "--loose",
        action="store_true",
        help="a request gets the reply to the next recorded one with the same command and arguments (default)",
    )
    parser.add_argument(
        "--pace",
        choices=["real", "none"],
        default="none",
        help="real: delay replies as they were recorded (default: none, at once)",
    )
    parser.add_argument(
        "--then",
        choices=["model", "error"],
        default="error",
        help="what answers a request that the recording has no reply to: the simulated guest of the "
        "scenario, or an error (default: error)",
    )
    parser.set_defaults(make_blueprint=_make)
    return serve_as(parser, arguments)


def _make(scenario: "Scenario", options: argparse.Namespace) -> "Blueprint":
    from qgasim.conversation import read_conversation
    from qgasim.errors import QgaSimError
    from qgasim.upstream.recording import Manner, make_replay

    if options.upstream is not None:
        raise QgaSimError("--upstream: the recording stands in place of an agent")
    conversation = read_conversation(options.recording)
    manner = Manner(is_strict=options.strict, has_pace=options.pace == "real", then=options.then)
    return make_replay(scenario, conversation, manner, release=options.agent)
