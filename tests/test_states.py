"""The states of a guest: every arrow of the table is walked by a guest, and no other."""

from collections.abc import Callable
from typing import get_args

import pytest

from qgasim.agent.observer import Observer
from qgasim.states import FROM_ANY, TRANSITIONS, State, StateEvent
from tests.serving import Course

#: How a guest comes into a state.
WAYS: dict[State, Callable[[Course], object]] = {
    "off": lambda g: g.guest.power.shut_down("powerdown", 0),
    "booting": lambda g: g.agent.stop(respawn=False),
    "up": lambda g: g.advance(0),
    "frozen": lambda g: g.say("guest-fsfreeze-freeze"),
    "rebooting": lambda g: g.guest.power.shut_down("reboot", 0),
    "crashed": lambda g: g.guest.power.shut_down("halt", 0),
}
#: How an event is brought about; "boot" follows a reset by itself.
EVENTS: dict[StateEvent, Callable[[Course], object]] = {
    "power on": lambda g: g.guest.power.switch_on(),
    "boot": lambda g: g.advance(3),
    "agent starts": lambda g: g.agent.start(),
    "agent ends": lambda g: g.agent.crash(10**12),
    "freeze": lambda g: g.say("guest-fsfreeze-freeze"),
    "thaw": lambda g: g.say("guest-fsfreeze-thaw"),
    "shut down": lambda g: g.guest.power.shut_down("powerdown", 0),
    "reset": lambda g: g.guest.power.shut_down("reboot", 0),
    "halt": lambda g: g.guest.power.shut_down("halt", 0),
}


class States(Observer):
    """The states of a guest, one after the other."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.seen: list[State] = [course.guest.state]
        course.simulation.observe(self)

    def changed(self) -> None:
        state = self.course.guest.state
        if state != self.seen[-1]:
            self.seen.append(state)


def guest_in(state: State) -> Course:
    course = Course("debian-12")
    WAYS[state](course)
    course.advance(0)
    assert course.guest.state == state
    return course


@pytest.mark.parametrize(("state", "event"), TRANSITIONS, ids=lambda name: name.replace(" ", "_"))
def test_an_event_leads_where_the_table_says(state: State, event: StateEvent) -> None:
    course = guest_in(state)
    states = States(course)
    EVENTS[event](course)
    course.guest.settle()
    # An agent that is started at boot is up at once, so nothing sees the guest in between.
    after = TRANSITIONS[state, event]
    expected = ["up"] if event == "boot" else [after]
    assert states.seen[1:] == expected


@pytest.mark.parametrize("event", FROM_ANY, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("state", WAYS)
def test_a_guest_can_be_reset_and_switched_off_in_any_state(
    state: State, event: StateEvent
) -> None:
    course = guest_in(state)
    EVENTS[event](course)
    course.guest.settle()
    assert course.guest.state == FROM_ANY[event]


@pytest.mark.parametrize("state", ["up", "frozen", "booting"])
def test_a_guest_that_wakes_or_is_resumed_is_where_it_was(state: State) -> None:
    course = guest_in(state)
    states = States(course)
    course.guest.power.sleep("ram")
    course.advance(1)
    course.guest.power.pause(None)
    course.guest.power.resume()
    course.guest.power.wake()
    assert states.seen == [state, "suspended", "paused", "suspended", state]


def test_what_happens_to_the_agent_of_a_sleeping_guest_shows_when_it_wakes() -> None:
    course = guest_in("frozen")
    course.guest.power.sleep("ram")
    course.advance(1)
    course.agent.stop(respawn=False)
    course.guest.settle()
    states = States(course)
    course.guest.power.wake()
    assert states.seen == ["suspended", "booting"]


def test_the_table_has_every_state_but_those_that_lie_over_others() -> None:
    named = {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values())
    named |= set(FROM_ANY.values())
    assert named == set(get_args(State)) - {"suspended", "paused"}
    assert set(WAYS) == named
