"""The options of ``qgasim ctl``."""

import argparse
from typing import Any, Final

from qgasim.cli.parser import Parser

__all__ = ["ctl_parser", "no_options"]

_EPILOG: Final = """\
WORDS are key=value, where a value that is valid JSON is read as JSON, any other as a string; or one YAML
or JSON mapping, as in '{kind: hang, on: guest-ping}'; or @FILE with such a mapping (@-: standard input).
The first word may stand alone: the kind for inject, the action for event, the command for verify and wait.

exit status:
  0  done    1  not verified, or waited in vain    2  error
"""
_WORDS: Final[dict[str, Any]] = {"nargs": "+", "metavar": "WORDS"}


def _common() -> Parser:
    """Return the options that may stand before and after the command."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--control",
        metavar="ADDRESS",
        help="where the control API is served: unix:PATH or tcp:[HOST:]PORT (default: $QGASIM_CONTROL)",
    )
    common.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with the API's token (default: the token in $QGASIM_CONTROL_TOKEN)",
    )
    common.add_argument("--json", action="store_true", help="print what the API answers, as JSON")
    common.add_argument(
        "-g", "--guest", metavar="NAME", help="which guest (may be left out if there is only one)"
    )
    return common


def no_options() -> argparse.Namespace:
    """Return what the common options are where they are not given."""
    # As defaults of a parser, those of the command would take the place of what stands before it.
    return argparse.Namespace(control=None, token_file=None, json=False, guest=None)


def ctl_parser() -> Parser:
    """Return the parser of the command line behind ``qgasim ctl``."""
    common = _common()
    parser = Parser(
        prog="qgasim ctl",
        description="Control guests that are served with qgasim --control.",
        epilog=_EPILOG,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, help="each has a --help"
    )

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=_EPILOG,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_guests(add)
    _add_faults(add)
    _add_time(add)
    _add_journal(add)
    return parser


def _add_guests(add: Any) -> None:
    add("guests", "list all guests")
    new = add("new", "create a guest, and print its address")
    new.add_argument(
        "name", metavar="NAME", nargs="?", help="name of the guest (default: numbered)"
    )
    new.add_argument(
        "--scenario",
        metavar="FILE-or-NAME",
        help="the guest's scenario; a file can extend only bundled scenarios (default: debian-12)",
    )
    new.add_argument(
        "--agent", metavar="RELEASE", help="release of qemu-ga (default: the scenario's)"
    )
    new.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="where clients connect: unix:PATH, tcp:[HOST:]PORT or vsock:CID:PORT "
        "(default: a unix socket of its own)",
    )
    new.add_argument(
        "--qmp",
        metavar="ADDRESS",
        action="append",
        help="where clients of the machine's monitor (QMP) connect, as --listen (can be repeated)",
    )
    new.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="seed of everything that is made up (default: the scenario's)",
    )
    add("rm", "delete guests").add_argument(
        "names", metavar="NAME", nargs="+", help="guests to delete"
    )
    add("patch", "change a guest while it runs, as in patch hostname=web2").add_argument(
        "words", **_WORDS, help="a merge patch (RFC 7396) for the `guest:` of a scenario"
    )
    add("reset", "replace a guest by a new one of the same scenario, at the same address")
    add("stop", "end qgasim, with all its guests")


def _add_faults(add: Any) -> None:
    add("inject", "inject a fault, as in inject hang on=guest-ping").add_argument(
        "words", **_WORDS, help="the fault, as in a scenario"
    )
    add("faults", "list the faults, and how often each has fired")
    add("clear", "remove faults").add_argument(
        "ids", metavar="ID", nargs="*", type=int, help="faults to remove (default: all)"
    )


def _add_time(add: Any) -> None:
    add("event", "make an event happen, as in event reboot").add_argument(
        "words",
        **_WORDS,
        help="the event, as in a scenario's timeline; at=, delay= and so on schedule it",
    )
    add("advance", "advance the guest's time").add_argument(
        "by", metavar="DURATION", help="how much, as in 90s, 1h"
    )
    add("snapshot", "take a snapshot, or list the snapshots").add_argument(
        "name", metavar="NAME", nargs="?", help="name of the snapshot (default: list them)"
    )
    add("revert", "go back to a snapshot").add_argument(
        "name", metavar="NAME", help="name of the snapshot"
    )


def _add_journal(add: Any) -> None:
    journal = add("journal", "print requests, replies and events")
    journal.add_argument(
        "-f", "--follow", action="store_true", help="keep printing what happens next"
    )
    journal.add_argument(
        "--after", metavar="N", type=int, default=0, help="only the entries after number N"
    )
    journal.add_argument(
        "--only", metavar="COMMAND", help="only requests for COMMAND; * and ? are wildcards"
    )
    verify = add("verify", "verify which requests came, as in verify guest-ping times=2")
    verify.add_argument(
        "words",
        **_WORDS,
        help="command, arguments, after, before, within, at_least, at_most, times; with --in-order: commands",
    )
    way = verify.add_mutually_exclusive_group()
    way.add_argument("--never", action="store_true", help="verify that no such request came")
    way.add_argument(
        "--in-order", action="store_true", help="verify that the commands came in this order"
    )
    add("wait", "wait for a request or for a state of the guest, as in wait state=up").add_argument(
        "words", **_WORDS, help="state, command, arguments, count, after, within"
    )
    add("findings", "print what clients should not have done")
