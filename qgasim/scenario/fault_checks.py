"""What must hold of faults besides types."""

from collections.abc import Callable
from typing import Any, Final, get_args

from qgasim.faults.base import Fault
from qgasim.faults.connection import AcceptThenSilence, Refuse
from qgasim.faults.content import Edit, Huge, Stale, parse_pointer
from qgasim.faults.events import DuplicateEvent, EventFault, is_of_monitor
from qgasim.faults.legal import LegalVariation
from qgasim.faults.stream import Bandwidth, Corrupt, Garbage, Split
from qgasim.faults.timing import Delay, Uniform
from qgasim.matching import compile_match
from qgasim.scenario.checks import Wrong
from qgasim.states import State

__all__ = ["FAULT_CHECKS"]

#: Bits to flip in a reply, each of which takes a moment.
BITS_LIMIT: Final = 1 << 20
#: The largest reply to pad: the largest that an agent gives is 64 MiB of base64.
HUGE_LIMIT: Final = 64 << 20
#: At how many places a reply may differ, each of which takes a look at all that could.
CHANGES_LIMIT: Final = 100
#: How often an event may be sent.
COPIES_LIMIT: Final = 1000


def _check_fault(fault: Fault) -> Wrong:
    try:
        compile_match(fault.on)
    except ValueError as error:
        yield "on", str(error)
    for name, least in (("after", 0), ("times", 1), ("every", 1)):
        value = getattr(fault, name)
        if value is not None and value < least:
            yield name, f"expected {least} or more, found {value}"
    if not 0 < fault.probability <= 1:
        yield "probability", f"expected above 0 and at most 1, found {fault.probability}"
    is_of_connections = isinstance(fault, AcceptThenSilence | Refuse)
    if (
        fault.when in get_args(State)
        and fault.when not in ("up", "frozen")
        and not is_of_connections
    ):
        yield (
            "when",
            f"no request is executed while the guest is {fault.when} (expected up, frozen or a mapping)",
        )


def _check_delay(fault: Delay) -> Wrong:
    given = [
        n
        for n in ("by", "uniform", "normal", "lognormal", "growing")
        if getattr(fault, n) is not None
    ]
    if not given:
        yield "", "no delay is given (expected by, uniform, normal, lognormal or growing)"
    elif len(given) > 1:
        yield given[1], f"'{given[0]}' and '{given[1]}' are mutually exclusive"


def _check_refuse(fault: Refuse) -> Wrong:
    for name in ("after", "times", "every", "probability"):
        if not fault.accepts and getattr(fault, name) != getattr(Refuse(), name):
            yield name, "connections that are not accepted cannot be counted"


def _check_stale(fault: Stale) -> Wrong:
    if fault.age and fault.as_of is not None:
        yield "as_of", "'age' and 'as_of' are mutually exclusive"


def _check_uniform(uniform: Uniform) -> Wrong:
    if uniform.least > uniform.most:
        yield "most", "expected at least as much as 'least'"


def _check_split(fault: Split) -> Wrong:
    if not fault.sizes:
        yield "sizes", "expected one size or more"
    for index, size in enumerate(fault.sizes):
        if size < 1:
            yield f"sizes[{index}]", f"expected 1 or more, found {size}"


def _check_bandwidth(fault: Bandwidth) -> Wrong:
    for name in ("bytes_per_second", "ticks"):
        if getattr(fault, name) < 1:
            yield name, f"expected 1 or more, found {getattr(fault, name)}"


def _check_garbage(fault: Garbage) -> Wrong:
    given = [name for name in ("text", "hex", "random") if getattr(fault, name)]
    if not given:
        yield "", "no bytes are given (expected text, hex or random)"
    elif len(given) > 1:
        yield given[1], f"'{given[0]}' and '{given[1]}' are mutually exclusive"
    if any(ord(character) > 0xFF for character in fault.text):
        yield "text", "a character above U+00FF is not a byte"
    try:
        bytes.fromhex(fault.hex)
    except ValueError:
        yield "hex", f"not hexadecimal: '{fault.hex}'"
    if fault.random > 1 << 20:
        yield "random", f"expected at most 1 MiB, found {fault.random}"


def _check_corrupt(fault: Corrupt) -> Wrong:
    if not fault.at and fault.bits < 1:
        yield "", "nothing to corrupt (expected at or bits)"
    if fault.bits > BITS_LIMIT:
        yield "bits", f"expected at most {BITS_LIMIT}, found {fault.bits}"


def _check_huge(fault: Huge) -> Wrong:
    if fault.size > HUGE_LIMIT:
        yield "size", f"expected at most 64 MiB, found {fault.size}"


def _check_edit(fault: Edit) -> Wrong:
    if not fault.set and not fault.remove and not fault.retype:
        yield "", "nothing to edit (expected set, remove or retype)"
    places = [(f"set.{pointer}", pointer) for pointer in fault.set]
    places += [(f"retype.{pointer}", pointer) for pointer in fault.retype]
    places += [(f"remove[{index}]", pointer) for index, pointer in enumerate(fault.remove)]
    for path, pointer in places:
        try:
            parse_pointer(pointer)
        except ValueError as error:
            yield path, str(error)


def _check_legal_variation(fault: LegalVariation) -> Wrong:
    if not 1 <= fault.changes <= CHANGES_LIMIT:
        yield "changes", f"expected 1 to {CHANGES_LIMIT}, found {fault.changes}"
    if fault.illegal and fault.kinds:
        yield "kinds", "the kinds are of legal variations (expected 'kinds' or 'illegal')"
    if is_of_monitor(fault.on):
        yield "on", "only replies of the agent are varied, not those of the monitor"


def _check_event_fault(fault: EventFault) -> Wrong:
    if not is_of_monitor(fault.on):
        yield "on", "expected an event of the monitor, as in 'qmp:SUSPEND'"


def _check_duplicate_event(fault: DuplicateEvent) -> Wrong:
    if not 2 <= fault.copies <= COPIES_LIMIT:
        yield "copies", f"expected 2 to {COPIES_LIMIT}, found {fault.copies}"


FAULT_CHECKS: Final[dict[type, Callable[[Any], Wrong]]] = {
    Bandwidth: _check_bandwidth,
    Corrupt: _check_corrupt,
    Delay: _check_delay,
    DuplicateEvent: _check_duplicate_event,
    EventFault: _check_event_fault,
    Edit: _check_edit,
    Fault: _check_fault,
    Garbage: _check_garbage,
    Huge: _check_huge,
    LegalVariation: _check_legal_variation,
    Refuse: _check_refuse,
    Split: _check_split,
    Stale: _check_stale,
    Uniform: _check_uniform,
}
