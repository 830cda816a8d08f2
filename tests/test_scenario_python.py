"""What YAML says and what Python says is the same, under the same names."""

import random
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import Struct, structs

from qgasim.agent.stubs import Stub
from qgasim.errors import ScenarioError
from qgasim.faults import AnyFault, Delay
from qgasim.guest.hardware.devices import Memory
from qgasim.guest.hardware.network import Nic
from qgasim.guest.settings import FileSettings, GuestSettings
from qgasim.scenario import AgentSettings, Scenario, library, load, loads
from qgasim.scenario.decode import tag_field_of, tag_of
from qgasim.scenario.dump import to_yaml
from qgasim.scenario.schema import structs_of
from qgasim.simulation.timeline import Reboot

NAMES: dict[str, Any] = {cls.__name__: cls for cls in structs_of(Scenario)}


@pytest.mark.slow
@pytest.mark.parametrize("name", library())
def test_a_scenario_can_be_written_in_python_and_is_the_same(name: str) -> None:
    scenario = load(name)
    # What a Struct shows of itself is the Python that makes it.
    again = eval(repr(scenario), {"UNSET": structs.fields(Stub)[0].default, **NAMES})
    assert again == scenario
    assert again.filled() == scenario.filled()
    assert to_yaml(again) == to_yaml(scenario)


def test_every_key_has_the_same_name_in_python() -> None:
    other = {
        f"{cls.__name__}.{field.name}": field.encode_name
        for cls in structs_of(Scenario)
        for field in structs.fields(cls)
        if field.name != field.encode_name
    }
    # A keyword of Python.
    assert other == {"ErrorReply.error_class": "class", "InjectedError.error_class": "class"}


def test_what_says_of_which_kind_a_fault_is_is_a_class_in_python() -> None:
    kinds: dict[str, type[Struct]] = {tag_of(cls) or "": cls for cls in get_args(AnyFault)}
    assert kinds["delay"] is Delay
    assert {tag_field_of(cls) for cls in kinds.values()} == {"kind"}
    fault = Delay(by=5_000_000_000, on="guest-ping")
    scenario = Scenario(faults=[fault], timeline=[Reboot(at=1)])
    assert loads(to_yaml(scenario)) == scenario
    assert loads("faults: [{kind: delay, on: guest-ping, by: 5s}]").faults == [fault]


@pytest.mark.parametrize(
    "seed", [*range(10), *(pytest.param(n, marks=pytest.mark.slow) for n in range(10, 60))]
)
def test_parts_of_several_guests_are_written_and_read_as_they_are(seed: int) -> None:
    chance = random.Random(seed)
    guests = [load(name).filled() for name in chance.sample(list(library()), 8)]
    # Keys that need no others.
    parts = {
        key: getattr(chance.choice(guests).guest, key)
        for key in ("clock", "vcpus", "load", "memory", "nics", "logins", "environment", "power")
    }
    mixed = Scenario(
        description=chance.choice(guests).description,
        seed=chance.randrange(1 << 64),
        agent=chance.choice(guests).agent,
        guest=structs.replace(guests[0].guest, **parts),
    )
    text = to_yaml(mixed)
    assert loads(text) == mixed
    assert to_yaml(loads(text)) == text


def untyped(value: Any) -> Any:
    """Hide a value's type from type checkers, which would report the error before qgasim does."""
    return value


#: What Python says, and why it is wrong.
WRONG: list[tuple[Scenario, list[str]]] = [
    (
        Scenario(guest=GuestSettings(vcpus=untyped("two"))),
        ["guest.vcpus: expected an integer or a list, found 'two'"],
    ),
    (
        Scenario(
            guest=GuestSettings(
                memory=untyped("2GiB"), nics=[Nic(name=untyped(3)), untyped("eth1")]
            ),
            agent=AgentSettings(release=untyped(7.2), channel=untyped("virtio")),
        ),
        [
            "agent.release: expected a text, found 7.2",
            (
                "agent.channel: expected one of virtio-serial, isa-serial, unix-listen, "
                "vsock-listen, found 'virtio'"
            ),
            "guest.memory: expected bytes (an integer) or a Memory, found '2GiB'",
            "guest.nics[0].name: expected a text, found 3",
            "guest.nics[1]: expected a Nic, found 'eth1'",
        ],
    ),
    (
        Scenario(guest=untyped("debian-12")),
        ["guest: expected a GuestSettings, found 'debian-12'"],
    ),
    (
        Scenario(guest=GuestSettings(load=untyped((1.0,)))),
        ["guest.load: expected 3 of them, found 1"],
    ),
    (
        Scenario(
            guest=GuestSettings(
                files={
                    "/a": FileSettings(text=untyped(b"x")),
                    untyped(3): "x",
                    "/b": untyped(b"x"),
                },
                memory=Memory(size=untyped(1.5)),
            )
        ),
        [
            "guest.memory.size: expected bytes (an integer), found 1.5",
            "guest.files./a.text: expected a text, found b'x'",
            "guest.files: expected keys that are texts, found 3",
            "guest.files./b: expected a text or a FileSettings, found b'x'",
        ],
    ),
    (
        Scenario(seed=untyped("1"), replies=[untyped(1)]),
        [
            "seed: expected an integer, found '1'",
            "replies[0]: expected a Stub, found 1",
        ],
    ),
    (
        Scenario(guest=GuestSettings(hostname="a b"), agent=AgentSettings(release="8.3")),
        [
            "agent.release: no such release: '8.3' (expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)",
            "guest.hostname: not a host name: 'a b'",
        ],
    ),
]


@pytest.mark.parametrize(("scenario", "wrong"), WRONG)
def test_what_python_says_wrongly_is_told_before_a_guest_is_made(
    scenario: Scenario, wrong: list[str]
) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario.build()
    assert str(caught.value).splitlines() == wrong


def test_what_is_changed_in_python_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("guest:\n  vcpus: 2\n")
    scenario = load(path)
    scenario.guest.vcpus = 0
    with pytest.raises(ScenarioError) as caught:
        scenario.build()
    assert str(caught.value) == f"{path}:2:10: guest.vcpus: expected from 1 to 8192, found 0"
