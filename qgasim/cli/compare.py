"""``qgasim compare``: where a real agent and a simulated one differ."""

import json
import sys
from typing import TYPE_CHECKING, Any

from qgasim.cli.differences import difference_lines
from qgasim.cli.parser import Parser, add_address, add_timeout

if TYPE_CHECKING:
    from qgasim.compare import Comparison

__all__ = ["compare"]


def compare(arguments: list[str]) -> int:
    """Compare; 0: no difference, 1: differences, 2: it could not be done."""
    parser = Parser(
        prog="qgasim compare",
        description="Send a real agent and a simulated one the same requests, and print where they differ. "
        "Nothing in the real guest is changed.",
    )
    add_address(parser, "the real agent")
    parser.add_argument(
        "--scenario",
        metavar="FILE-or-NAME",
        help="the simulated guest (default: the most similar bundled one)",
    )
    parser.add_argument(
        "--agent",
        metavar="RELEASE",
        help="the simulated release (default: the real agent's)",
    )
    add_timeout(parser, 10.0)
    parser.add_argument(
        "--json", action="store_true", help="print JSON, without shortening anything"
    )
    options = parser.parse_args(arguments)

    from qgasim.compare import RealAgent, compare
    from qgasim.dialect import find_dialect

    if options.agent is not None and find_dialect(options.agent) is None:
        parser.error(f"--agent: no such release: '{options.agent}'")
    with RealAgent(options.address, options.timeout) as real:
        result = compare(real, scenario=options.scenario, release=options.agent)
    if options.json:
        json.dump(_to_json(result), sys.stdout, indent=2)
        print()
    else:
        print("\n".join(_to_lines(result)))
    return int(bool(result.differences))


def _to_lines(result: "Comparison") -> list[str]:
    of_system = f", {result.system}" if result.system else ""
    lines = [
        f"real:      qemu-ga {result.version or '(it does not say)'}{of_system}",
        f"simulated: qemu-ga {result.release}, scenario {result.scenario}",
        *(f"note: {note}" for note in result.notes),
    ]
    for number, difference in enumerate(result.differences, 1):
        lines += [
            "",
            *difference_lines(f"{number}.", difference),
        ]
    count = len(result.differences)
    said = (
        "no difference" if count == 0 else "1 difference" if count == 1 else f"{count} differences"
    )
    return [*lines, "", f"{result.asked} requests: {said}"]


def _to_json(result: "Comparison") -> dict[str, Any]:
    return {
        "real": {"version": result.version, "system": result.system},
        "simulated": {"release": result.release, "scenario": result.scenario},
        "asked": result.asked,
        "notes": result.notes,
        "differences": [
            {
                "topic": difference.topic,
                "what": difference.what,
                # A character is a byte.
                "sent": difference.request.decode("latin-1"),
                "real": difference.real.decode("latin-1"),
                "simulated": difference.simulated.decode("latin-1"),
            }
            for difference in result.differences
        ],
    }
