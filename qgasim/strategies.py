"""Hypothesis' strategies for clients of an agent: replies, errors, guests, and what goes wrong with them.

They need hypothesis: ``pip install 'qgasim[hypothesis]'``. docs/howto/variations.md shows them at work.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any, Final, cast, get_args

from msgspec import structs

from qgasim.commands import ALL_COMMANDS
from qgasim.dialect import LATEST, RELEASES, Dialect, Family, find_dialect
from qgasim.faults import AnyFault, Fault, LegalVariation
from qgasim.guest.hardware.network import Nic
from qgasim.guest.units import SECOND
from qgasim.qapi.annotations import item_of, strip, struct_of
from qgasim.qapi.registry import compile_table
from qgasim.qapi.results import fields_in_order
from qgasim.qapi.samples import NAMES, is_optional, range_of, sample
from qgasim.qapi.variations import Variation, list_variations
from qgasim.scenario import Scenario, load
from qgasim.scenario.nemesis import DrawnKind, make_fault
from qgasim.simulation.timeline import (
    AgentCrashes,
    AgentStarts,
    AgentStops,
    AnyEvent,
    Event,
    Migrate,
    Pause,
    PowerOff,
    PowerOn,
    Reboot,
    Resume,
    StepClock,
    Suspend,
    Wake,
)
from qgasim.suggestions import not_there

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "qgasim.strategies needs hypothesis: pip install 'qgasim[hypothesis]'"
    ) from error

__all__ = ["cuts", "errors", "faults", "guests", "replies", "timelines"]

#: The guest that answers before a reply is varied.
_GUESTS: Final[dict[Family, str]] = {
    "linux": "debian-12",
    "freebsd": "freebsd-14",
    "windows": "windows-server-2022",
}
_LATEST: Final = "{}.{}".format(*LATEST)
#: How long a timeline lasts.
_LASTS: Final = 600


def replies(
    command: str,
    release: str = _LATEST,
    family: Family = "linux",
    *,
    changes: int = 2,
    illegal: bool = False,
) -> st.SearchStrategy[Any]:
    """Return a strategy of what a command returns: the value of ``return``, as JSON's values.

    It shrinks to what an ordinary guest returns. A command that needs arguments is not asked: what it
    returns is made of its type alone.

    Args:
        command: its name, as in ``guest-network-get-interfaces``.
        release: the release, as in ``agent.release`` of a scenario.
        family: of which family the guest is.
        changes: at how many places at most it differs.
        illegal: whether it differs in ways that the schema does not allow.

    Raises:
        LookupError: there is no such release, or it has no such command there.
    """
    dialect = find_dialect(release)
    if dialect is None:
        raise LookupError(f"no such release: '{release}'")
    table = compile_table(ALL_COMMANDS, dialect, family)
    if command not in table:
        raise LookupError(not_there("command", command, table))
    returns = table[command].command.returns
    ordinary = _ask(command, release, family)
    base = st.just(ordinary[0]) if ordinary else _values(returns, dialect)
    list_all = partial(list_variations, annotation=returns, dialect=dialect, illegal=illegal)
    first: list[Variation] = list_all(ordinary[0]) if ordinary else []

    @st.composite
    def vary(draw: st.DrawFn) -> Any:
        ordinary_value = value = draw(base)
        for _ in range(changes):
            # Listing them takes longer than everything else.
            found = first if ordinary and value is ordinary_value else list_all(value)
            # Each change can be left out by itself: so a failure shrinks to those that it takes.
            kind = draw(st.sampled_from([None, *dict.fromkeys(each.kind for each in found)]))
            if kind is not None:
                variation = draw(st.sampled_from([each for each in found if each.kind == kind]))
                value = variation.vary(value, returns, dialect)
        # A parser may do with it what it likes.
        return deepcopy(value)

    return vary()


@lru_cache(maxsize=256)
def _ask(command: str, release: str, family: Family) -> tuple[Any] | None:
    """Return what an ordinary guest returns; None if it answers by an error, or not at all."""
    scenario = load(_GUESTS[family])
    scenario.agent.release = release
    request = json.dumps({"execute": command}).encode() + b"\n"
    effects = scenario.build(lambda: 60 * SECOND).channel.receive(request)
    reply = b"".join(effect for effect in effects if isinstance(effect, bytes))
    said: dict[str, Any] = json.loads(reply.removeprefix(b"\xff") or b"{}")
    return (said["return"],) if "return" in said else None


def _values(annotation: Any, dialect: Dialect) -> st.SearchStrategy[Any]:
    """Return a strategy of all values of a result type."""
    bare, _ = strip(annotation)
    if (item := item_of(annotation)) is not None:
        return st.lists(_values(item, dialect), max_size=4)
    if (cls := struct_of(annotation)) is not None:
        fields = fields_in_order(cls, dialect)
        members = {field.encode_name: _values(field.type, dialect) for field in fields}
        optional = {field.encode_name for field in fields if is_optional(field)}
        required = {name: members[name] for name in members if name not in optional}
        return st.fixed_dictionaries(required, optional={name: members[name] for name in optional})
    # Bytes are base64 in JSON, and what returns nothing returns an empty object.
    fixed: dict[Any, list[Any]] = {bytes: ["", "AA==", "//8=", "aGVsbG8K"], type(None): [{}]}
    samples = st.sampled_from(fixed.get(bare) or sample(annotation, dialect))
    if bare is int:
        return st.integers(*range_of(annotation, {})) | samples
    return samples | st.text(max_size=20) if bare is str else samples


def errors(release: str = _LATEST) -> st.SearchStrategy[dict[str, str]]:
    """Return a strategy of errors: the value of ``error``, with a class and a text.

    Clients may rely on the class; the text is for people, may be translated by the guest's system, and
    differs between releases.

    Raises:
        LookupError: there is no such release.
    """
    dialect = find_dialect(release)
    if dialect is None:
        raise LookupError(f"no such release: '{release}'")
    texts = st.sampled_from(
        [
            "The command guest-x has not been found",
            dialect.blocked_text.format("guest-get-users"),
            dialect.frozen_text.format("guest-file-open"),
            dialect.exec_failed_text.format("Failed to execute child process “x”"),
            "",
            *NAMES,
        ]
    )
    classes = st.sampled_from(["GenericError", "CommandNotFound"])
    return st.fixed_dictionaries({"class": classes, "desc": texts | st.text(max_size=60)})


def guests(release: str | None = None, family: Family = "linux") -> st.SearchStrategy[Scenario]:
    """Return a strategy of scenarios with guests that are unlike each other: build them, or serve them.

    Args:
        release: of the agent; None: any from 5.2 on.
        family: of which family the guests are.
    """
    recent = ["{}.{}".format(*version) for version in RELEASES if version[0] >= 5][::-1]
    return _guests(st.sampled_from(recent) if release is None else st.just(release), family)


@st.composite
def _guests(draw: st.DrawFn, releases: st.SearchStrategy[str], family: Family) -> Scenario:
    scenario = load(_GUESTS[family])
    guest = structs.replace(
        scenario.guest,
        hostname=draw(st.sampled_from(("web-1", "a" * 63, "xn--bcher-kva", "0", "größe"))),
        vcpus=draw(st.integers(1, 64)),
        nics=draw(st.lists(_nics(), max_size=6, unique_by=lambda nic: nic.name)),
    )
    agent = structs.replace(scenario.agent, release=draw(releases))
    seed = draw(st.integers(0, (1 << 31) - 1))
    return structs.replace(scenario, seed=seed, agent=agent, guest=guest)


@st.composite
def _nics(draw: st.DrawFn) -> Nic:
    names = st.sampled_from(("eth0", "eth0.7", "br-0a1b2c3d4e5f", "veth12@if3", "wg0", "größe"))
    return Nic(
        name=draw(names | st.text(st.characters(min_codepoint=33, exclude_characters="/{}\x7f"), min_size=1, max_size=5)),
        mac=draw(st.sampled_from(("auto", None))),
        addresses=draw(
            st.lists(
                st.sampled_from(("169.254.7.1/16", "fe80::1/64", "fe80::2/64", "auto")),
                max_size=3, unique=True,
            )
        ),
        up=draw(st.booleans()),
        mtu=draw(st.sampled_from((1500, 0, 68, 9000, 65536))),
    )  # fmt: skip


def timelines(most: int = 6) -> st.SearchStrategy[list[AnyEvent]]:
    """Return a strategy of what happens to a guest within ten minutes, for ``Scenario.timeline``.

    Args:
        most: how many events there are at most.
    """
    return st.lists(_events(), max_size=most).map(
        lambda events: sorted(events, key=lambda event: event.at or 0)
    )


@st.composite
def _events(draw: st.DrawFn) -> AnyEvent:
    lasts = draw(st.integers(1, 60)) * SECOND
    events: list[Callable[..., Event]] = [
        AgentCrashes, AgentStops, AgentStarts, Reboot, PowerOff, PowerOn, Resume, Suspend, Wake,
        partial(Pause, lasts=lasts), partial(Pause, lasts=lasts, clock_runs=True), partial(Migrate, blackout=lasts),
        partial(StepClock, forward=lasts), partial(StepClock, back=lasts),
    ]  # fmt: skip
    return cast(AnyEvent, draw(st.sampled_from(events))(at=draw(st.integers(0, _LASTS)) * SECOND))


def faults(on: str = "*") -> st.SearchStrategy[AnyFault]:
    """Return a strategy of faults, for ``Scenario.faults`` or `LiveGuest.inject`.

    Args:
        on: which commands they concern.
    """
    return _faults(on)


@st.composite
def _faults(draw: st.DrawFn, on: str) -> AnyFault:
    kind = draw(st.sampled_from(("legal_variation", *get_args(DrawnKind))))
    common: dict[str, Any] = {"on": on, "times": draw(st.none() | st.integers(1, 3))}
    made: AnyFault
    if kind == "legal_variation":
        made = LegalVariation(seed=draw(st.integers(0, 1 << 16)), **common)
    else:
        made = make_fault(kind, draw(st.randoms(use_true_random=False)), **common)
    is_counted = kind != "refuse" and draw(st.booleans())
    counts: dict[str, Any] = {"after": draw(st.integers(0, 3))} if is_counted else {}
    if kind == "refuse":
        counts = {"times": Fault().times}
    return structs.replace(made, **counts)


def cuts(data: bytes, most: int = 8) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy of the pieces in which a client may receive *data*, none of them empty.

    Args:
        data: a reply, or several.
        most: how many pieces there are at most.
    """

    def cut(places: set[int]) -> list[bytes]:
        ends = [*sorted(places), len(data)]
        starts = [0, *ends[:-1]]
        return [data[start:end] for start, end in zip(starts, ends, strict=True)]

    if not data:
        return st.just([])
    return st.sets(st.integers(1, max(len(data) - 1, 1)), max_size=most - 1).map(
        lambda places: cut(places - {len(data)})
    )
