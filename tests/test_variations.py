"""Legal variations: valid by QEMU's schemas, true of the guest, repeated from a seed, caught by parsers."""

import json
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from qgasim.errors import ScenarioError
from qgasim.faults.legal import find_edit
from qgasim.qapi.samples import INVENTED
from qgasim.qapi.variations import (
    ABSENT,
    Variation,
    VariationKind,
    list_variations,
    put,
)
from qgasim.scenario import loads
from qgasim.simulation.journal import Journal
from tests.offenders import Offenders
from tests.serving import Course, request
from tests.test_schema import ARGUMENTS, BEFORE, SPECS, Spec, ask, check_value

EXAMPLES = Path(__file__).parent.parent / "examples"
WINDOWS = Spec("11.1", "windows")
GUESTS = [(SPECS[0], "debian-12"), (SPECS[3], "lab-vm"), (WINDOWS, "windows-server-2022")]


@cache
def answers(spec: Spec, guest: str) -> dict[str, Any]:
    """Return what each command returns, by name, if it does."""
    found: dict[str, Any] = {}
    for name in spec.commands:
        course = Course(guest, release=spec.release)
        result: Any = None
        if name in BEFORE:
            answer = json.loads(ask(spec, course, BEFORE[name], None))
            if "return" not in answer:
                continue
            result = answer["return"]
            result = result["pid"] if name == "guest-exec-status" else result
            course.advance(1)
        reply = ask(spec, course, name, result)
        value = json.loads(reply.removeprefix(b"\xff") or b"{}")
        if "return" in value:
            found[name] = value["return"]
    return found


def each_variation(*, illegal: bool) -> Iterator[tuple[Spec, str, Any, Variation, Any]]:
    """Yield each variation of each command: release, command, what was returned, variation, what it makes."""
    for spec, guest in GUESTS:
        dialect = Course(guest, release=spec.release).agent.dialect
        for name, value in answers(spec, guest).items():
            returns = spec.table[name].command.returns
            for variation in list_variations(value, returns, dialect, illegal=illegal):
                yield spec, name, value, variation, variation.vary(value, returns, dialect)


def is_valid(spec: Spec, name: str, value: Any) -> bool:
    try:
        check_value(spec, value, spec.commands[name]["returns"], name, in_order=False)
    except (AssertionError, TypeError):
        return False
    return True


def check_legal(spec: Spec, name: str, value: Any, variation: Variation, varied: Any) -> None:
    kind, path = variation.kind, variation.path
    if kind in ("newer_member", "newer_value"):
        assert not is_valid(spec, name, varied)
        spec = next(newest for newest in (SPECS[-1], WINDOWS) if newest.family == spec.family)
    elif kind == "new_member":
        assert path[-1] == INVENTED
        varied = put(varied, path, ABSENT)
    elif kind == "new_value":
        before = value
        for place in path:
            before = before[place]
        varied = put(varied, path, before)
    assert is_valid(spec, name, varied)


@pytest.mark.slow
def test_each_variation_is_valid_by_the_schema_of_the_release_or_of_a_later_one() -> None:
    kinds: set[str] = set()
    with Offenders() as offenders:
        for spec, name, value, variation, varied in each_variation(illegal=False):
            kinds.add(variation.kind)
            with offenders.case(f"{spec!r}: {name}: {variation}"):
                check_legal(spec, name, value, variation, varied)
    assert kinds == set(get_args(VariationKind))


@pytest.mark.slow
def test_each_illegal_variation_breaks_the_schema() -> None:
    with Offenders() as offenders:
        for spec, name, _, variation, varied in each_variation(illegal=True):
            with offenders.case(f"{spec!r}: {name}: {variation}"):
                assert not is_valid(spec, name, varied)


def test_all_commands_vary_but_those_whose_answer_is_one_word() -> None:
    spec, guest = GUESTS[1]
    dialect = Course(guest, release=spec.release).agent.dialect
    found = answers(spec, guest)
    still = {
        name
        for name, value in found.items()
        if not list_variations(value, spec.table[name].command.returns, dialect)
    }
    assert still == {name for name, value in found.items() if type(value) in (int, str)}


# -- the fault -------------------------------------------------------------------------------------


def varying(settings: str = "", guest: str = "debian-12", release: str = "10.0") -> Course:
    fault = f"{{kind: legal_variation{settings and ', '}{settings}}}"
    return Course(f"{{extends: {guest}, faults: [{fault}]}}", release=release)


def returned(course: Course, command: str) -> Any:
    return course.say(command, **ARGUMENTS.get(command, {}))["return"]


ROUTES, INTERFACES = "guest-network-get-route", "guest-network-get-interfaces"
#: The command that lists things, the one that refers to them, and how each names them.
REFERRING: list[tuple[str, Callable[[Any], set[Any]], str, Callable[[Any], set[Any]]]] = [
    (INTERFACES, lambda nics: {nic["name"] for nic in nics},
     ROUTES, lambda routes: {route["iface"] for route in routes}),
    ("guest-get-vcpus", lambda cpus: {cpu["logical-id"] for cpu in cpus},
     "guest-get-cpustats", lambda stats: {each["cpu"] for each in stats}),
    ("guest-get-fsinfo", lambda fs: {each["mountpoint"] for each in fs},
     "guest-fstrim", lambda trim: {each["path"] for each in trim["paths"]}),
    ("guest-get-disks", lambda disks: {disk["name"] for disk in disks},
     "guest-get-disks", lambda disks: {each for disk in disks for each in disk["dependencies"]}),
    ("guest-get-disks", lambda disks: {disk["name"] for disk in disks},
     "guest-get-diskstats", lambda stats: {f"/dev/{each['name']}" for each in stats}),
    ("guest-get-disks", lambda disks: {disk["name"] for disk in disks},
     "guest-get-fsinfo", lambda fs: {a["dev"] for each in fs for a in each["disk"] if "dev" in a}),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["name", "fewer", "empty"])
def test_a_thing_that_replies_refer_to_is_listed(kind: str) -> None:
    with Offenders() as offenders:
        for listing, listed, referring, referred in REFERRING:
            for seed in range(4):
                course = varying(f"on: {listing}, kinds: [{kind}], seed: {seed}, times: 1")
                if kind != "name" or listing in (INTERFACES, "guest-get-disks"):
                    first = listed(returned(course, listing))
                    with offenders.case(f"{listing}, {referring}, seed {seed}"):
                        assert listed(returned(course, listing)) == first
                        assert referred(returned(course, referring)) <= first


def test_a_thing_is_called_alike_until_it_is_listed_anew() -> None:
    course = varying("on: guest-network-*, kinds: [name]")
    for _ in range(5):
        names = {nic["name"] for nic in returned(course, INTERFACES)}
        assert {route["iface"] for route in returned(course, ROUTES)} <= names
    course.agent.injector.withdraw(course.agent.injector.armed[0])
    assert {route["iface"] for route in returned(course, ROUTES)} <= {"lo", "enp1s0"}


def test_what_a_client_gives_back_is_as_it_was() -> None:
    course = varying("changes: 5")
    handle = course.say("guest-file-open", path="/etc/hostname")["return"]
    read = course.say("guest-file-read", handle=handle)["return"]
    assert (read["count"], read["buf-b64"], read["eof"]) == (7, "ZGViaWFuCg==", True)
    pid = course.say("guest-exec", path="echo", capture_output=True)["return"]["pid"]
    course.advance(1)
    assert course.say("guest-exec-status", pid=pid)["return"]["exitcode"] == 0
    assert course.say("guest-sync", id=7) == {"return": 7}


def test_a_fault_repeats_from_its_seed_whatever_else_is_asked() -> None:
    def replies(seed: int, between: int) -> list[bytes]:
        course = varying(f"changes: 3, seed: {seed}")
        found: list[bytes] = []
        for _ in range(12):
            found.append(course.send(request(INTERFACES)))
            for _ in range(between):
                course.send(request("guest-get-osinfo"))
        return found

    assert replies(1, 0) == replies(1, 2) != replies(2, 0)
    assert len(set(replies(1, 0))) > 9
    of_scenario = Course("{extends: debian-12, seed: 1, faults: [{kind: legal_variation, changes: 3}]}", release="10.0")  # fmt: skip
    assert of_scenario.send(request("guest-get-osinfo")) == varying("changes: 3, seed: 1").send(
        request("guest-get-osinfo")
    )


@pytest.mark.parametrize("settings", ["changes: 3", "illegal: true"])
def test_the_journal_shows_each_as_the_edit_that_repeats_it(settings: str) -> None:
    course = varying(settings)
    journal = Journal(course.simulation)
    plain = Course("debian-12", release="10.0")
    for _ in range(10):
        for command in (INTERFACES, "guest-get-fsinfo", "guest-get-users", "guest-ping"):
            reply = course.send(request(command))
            exchange = journal.exchanges[-1]
            (pin,) = exchange.pins
            text = exchange.to_json()["pins"][0]  # type: ignore[index]
            assert f"[= {text}]" in journal.transcript(1)
            (edit,) = loads(f"faults: [{text}]").faults
            assert edit == pin
            armed = plain.agent.injector.inject(edit)
            assert plain.send(request(command)) == reply
            plain.agent.injector.withdraw(armed)


def test_a_reply_that_only_follows_has_its_edit_too() -> None:
    course = varying(f"on: {INTERFACES}, kinds: [name], times: 1")
    journal = Journal(course.simulation)
    course.say(INTERFACES)
    course.say(ROUTES)
    listing, following = journal.exchanges
    assert (listing.faults, following.faults) == (("legal_variation",), ())
    assert all(each.pins for each in (listing, following))


def test_what_is_no_such_reply_stays_as_it_is() -> None:
    plain = Course("debian-12", release="10.0")
    course = varying()
    for sent in (b"[]\n", request("guest-no"), request("guest-file-close", handle=7)):
        assert course.send(sent) == plain.send(sent)
    for value in ("7", '[{"name": []}, 3, null]', '{"ip-addresses": {}}'):
        stub = f"{{on: {INTERFACES}, reply: {value}}}"
        stubbed = Course(f"{{extends: debian-12, replies: [{stub}], faults: [{{kind: legal_variation}}]}}")  # fmt: skip
        for _ in range(10):
            assert "return" in stubbed.say(INTERFACES)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("changes: 0", "changes: expected 1 to 100, found 0"),
        ("changes: 101", "changes: expected 1 to 100, found 101"),
        ("illegal: true, kinds: [name]", "expected 'kinds' or 'illegal'"),
        ("kinds: [names]", "name"),
        ('on: "qmp:*"', "only replies of the agent are varied"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(settings: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        loads(f"faults: [{{kind: legal_variation, {settings}}}]")


def test_an_edit_is_found_between_any_two_values() -> None:
    values: list[Any] = [
        {},
        {"a/b~": [1, 2]},
        [1, True, 1.0],
        [True, 1, 1],
        {"x": None},
        "",
        0,
        [[1], [2]],
        [[2], [1]],
    ]
    for before in values:
        for after in values:
            edit = find_edit(before, after)
            found = before if edit is None else edit.edited(deepcopy(before))
            assert repr(found) == repr(after)


# -- parsers that are caught -----------------------------------------------------------------------


def load_parsers() -> Any:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import naive_parsers  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(EXAMPLES))
    return naive_parsers


def test_the_naive_parsers_of_the_examples_are_caught_by_many_variations() -> None:
    parsers = load_parsers()
    spec = SPECS[2]
    course = Course("debian-12", release=spec.release)
    caught: set[tuple[str, str, Any]] = set()
    for command, parse in (
        (INTERFACES, parsers.addresses),
        ("guest-get-fsinfo", parsers.usage),
        ("guest-info", lambda info: parsers.release(info["version"])),
        ("guest-get-osinfo", parsers.system),
    ):
        value = returned(course, command)
        parse(value)
        returns = spec.table[command].command.returns
        for variation in list_variations(value, returns, course.agent.dialect):
            try:
                parse(variation.vary(value, returns, course.agent.dialect))
            except (AssertionError, LookupError, ValueError, ZeroDivisionError):
                caught.add((command, variation.kind, variation.path))
    assert len(caught) >= 15
