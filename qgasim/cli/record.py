"""``qgasim record``: a scenario that answers as a real agent does, with nothing private in it."""

import argparse
import codecs
import sys
from typing import TYPE_CHECKING, Final

from qgasim.cli.hints import hint
from qgasim.cli.parser import Parser, add_address, add_timeout
from qgasim.cli.text import complain, readable
from qgasim.errors import ClientError, QgaSimError

if TYPE_CHECKING:
    from qgasim.record.redaction import Redactor
    from qgasim.record.survey import Survey
    from qgasim.record.writing import Recorded

__all__ = ["record"]

_NAME: Final = "qgasim record"
_EPILOG: Final = """\
Private values are replaced, equal values by equal ones: macs, addresses (by ones for documentation), hosts,
users, serials, wwns, uuids, labels, and paths below home directories and media. --keep keeps some kinds.
Output of programs, contents of files, keys and passwords are never requested.
"""


def record(arguments: list[str]) -> int:
    """Record an agent; 0: all of it, 1: a part, or what no scenario can answer, 2: it could not be done."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.conversation is not None:
        if options.address is None or options.listen is None:
            parser.error("--conversation: expected ADDRESS, and --listen ADDRESS for the clients")
        from qgasim.cli.recording import record_conversation

        return record_conversation(parser, options)
    if options.listen is not None or options.qmp:
        parser.error("--listen, --qmp: have no effect without --conversation FILE")
    if (options.address is None) + (options.domain is None) + (options.file is None) != 2:
        parser.error("expected one of ADDRESS, --virsh DOMAIN and --from FILE")

    from qgasim.dialect import find_dialect
    from qgasim.record.redaction import Redactor
    from qgasim.record.writing import record

    if options.agent is not None and find_dialect(options.agent) is None:
        parser.error(f"--agent: no such release: '{options.agent}'")
    redactor = Redactor(keep=options.keep)
    survey, source = _survey(options)
    recorded = record(survey, redactor, release=options.agent, source=source)
    for note in recorded.notes:
        complain(f"note: {note}", f"{_NAME}: ")
    if survey.failure is not None:
        complain(f"{survey.failure}; what it answered before is recorded", f"{_NAME}: ")
    for skipped in survey.skipped:
        complain(f"{skipped}; the rest is recorded", f"{_NAME}: ")
    if options.show_redactions:
        _show(redactor)
    _write(options.output, recorded.text)
    return _conclude(options.output, recorded, is_whole=not (survey.failure or survey.skipped))


def _make_parser() -> Parser:
    parser = Parser(
        prog=_NAME,
        description="Send a real agent requests that change nothing, and write a scenario that answers the same.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_address(parser, "the real agent", is_optional=True)
    parser.add_argument(
        "--virsh",
        metavar="DOMAIN",
        dest="domain",
        help="ask the agent of a libvirt domain through virsh, as libvirt occupies its socket",
    )
    parser.add_argument(
        "--from",
        metavar="FILE",
        dest="file",
        help="read replies from a file, as pasted into a bug report (-: standard input)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        help="the file to write; it must not exist yet (default: standard output)",
    )
    _add_conversation_options(parser)
    _add_redaction_options(parser)
    parser.add_argument(
        "--agent",
        metavar="RELEASE",
        help="the simulated release (default: the real agent's)",
    )
    add_timeout(parser, 10.0)
    return parser


def _add_conversation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--conversation",
        metavar="FILE",
        help="forward requests of clients to the agent, and write the conversation to FILE, until Ctrl-C",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="with --conversation: where clients connect: unix:PATH, tcp:[HOST:]PORT or vsock:CID:PORT",
    )
    parser.add_argument(
        "--qmp",
        metavar="MONITOR=ADDRESS",
        action="append",
        default=[],
        help="with --conversation: a monitor of QEMU, and where its clients connect (can be repeated)",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="with --conversation: do not show it"
    )


def _add_redaction_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        metavar="KIND,...",
        type=_kinds,
        default=[],
        help="kinds of private values to leave as they are, as in serials,macs (all: every kind)",
    )
    parser.add_argument(
        "--show-redactions",
        action="store_true",
        help="print each replaced value and its replacement on standard error",
    )


def _kinds(text: str) -> list[str]:
    from qgasim.record.redaction import KINDS
    from qgasim.suggestions import did_you_mean

    kinds = [kind for kind in text.split(",") if kind]
    if kinds == ["all"]:
        return list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            expected = (
                did_you_mean(kind, KINDS) or f" (expected all, or some of {', '.join(KINDS)})"
            )
            raise argparse.ArgumentTypeError(f"no such kind: '{kind}'{expected}")
    return kinds


def _survey(options: argparse.Namespace) -> "tuple[Survey, str]":
    """Ask, or read; return what was answered, and where."""
    from qgasim.compare import RealAgent
    from qgasim.record.pasted import read_pasted
    from qgasim.record.survey import ask_by_wire, take
    from qgasim.record.virsh import ask_by_virsh

    if options.file is not None:
        return read_pasted(_read(options.file), options.file), "pasted replies"
    if options.domain is not None:
        return take(ask_by_virsh(options.domain, options.timeout)), "a real agent"
    with RealAgent(options.address, options.timeout) as agent:
        return take(ask_by_wire(agent)), "a real agent"


def _decode(data: bytes) -> str:
    # As Windows' PowerShell writes a file.
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig", "replace").replace("\r\n", "\n")


def _read(name: str) -> str:
    from qgasim.record.pasted import LIMIT

    # One more than is taken, so that what is too long is refused.
    if name == "-":
        stream = getattr(sys.stdin, "buffer", None)
        return "" if stream is None else _decode(stream.read(4 * LIMIT + 1))
    try:
        with open(name, "rb") as file:
            return _decode(file.read(4 * LIMIT + 1))
    except OSError as error:
        raise ClientError(f"{name}: {error.strerror}") from None


def _show(redactor: "Redactor") -> None:
    rows = sorted(
        (each.kind, original, each.value) for original, each in redactor.replacements.items()
    )
    if not rows:
        complain("nothing was replaced", f"{_NAME}: ")
    kinds = max((len(kind) for kind, _, _ in rows), default=0)
    originals = max((len(original) for _, original, _ in rows), default=0)
    for kind, original, value in rows:
        complain(f"{kind:{kinds}}  {readable(original):{originals}}  {readable(value)}")


def _write(path: str, text: str) -> None:
    if path == "-":
        print(text, end="")
        return
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise QgaSimError(f"{path}: {error.strerror}") from None


def _conclude(path: str, recorded: "Recorded", *, is_whole: bool) -> int:
    """Report the result; return the exit status."""
    lines: list[str] = []
    if path != "-":
        lines.append(f"wrote {path}; try: {hint('--scenario', path)}")
    count, stubs = recorded.replies, recorded.stubs
    unlike = len(recorded.unlike)
    if unlike:
        names = ", ".join(dict.fromkeys(recorded.unlike))
        lines.append(f"{unlike} of {count} replies differ in spite of that: {names}")
    said = f"{count - stubs} of {count} replies come from the model"
    lines.append(f"{said}, {stubs} from stubs" if stubs else said)
    for line in lines:
        if path == "-":
            complain(line, f"{_NAME}: ")
        else:
            print(line)
    return int(bool(unlike) or not is_whole)
