"""What an agent serves while file systems are frozen, and what it does to freeze and thaw. No sockets."""

import pytest

from tests.serving import Course, error

NOT_FOUND = "CommandNotFound"
FROZEN = "Command {} has been disabled: the agent is in frozen state"
BLOCKED = "Command {} has been disabled"
#: Recorded: tests/golden/7.2/fsfreeze.jsonl, frozen-info.
SERVED_WHILE_FROZEN = {
    "guest-ping",
    "guest-info",
    "guest-sync",
    "guest-sync-delimited",
    "guest-fsfreeze-status",
    "guest-fsfreeze-thaw",
}


def test_a_frozen_agent_refuses_all_but_six_commands() -> None:
    course = Course()
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    for name in course.agent.commands.table:
        if name not in SERVED_WHILE_FROZEN:
            # Before the arguments are looked at: there are none.
            answer = {"class": NOT_FOUND, "desc": FROZEN.format(name)}
            assert course.say(name) == {"error": answer}
    enabled = {
        command["name"]
        for command in course.say("guest-info")["return"]["supported_commands"]
        if command["enabled"]
    }
    assert enabled == SERVED_WHILE_FROZEN
    assert course.say("guest-fsfreeze-status") == {"return": "frozen"}


def test_a_thawed_agent_serves_everything_again() -> None:
    course = Course()
    before = course.send(b'{"execute":"guest-info"}')
    course.say("guest-fsfreeze-freeze")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert course.say("guest-fsfreeze-thaw") == {"return": 0}
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert course.send(b'{"execute":"guest-info"}') == before


def test_handles_survive_freezing() -> None:
    course = Course()
    course.say("guest-file-open", path="/etc/hostname")
    course.say("guest-fsfreeze-freeze")
    course.say("guest-fsfreeze-thaw")
    assert course.say("guest-file-close", handle=1000) == {"return": {}}


def test_a_blocked_command_keeps_the_text_of_the_frozen_state() -> None:
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")
    course.say("guest-fsfreeze-freeze")
    course.say("guest-fsfreeze-thaw")
    assert error(course.say("guest-exec")) == FROZEN.format("guest-exec")
    assert "return" in course.say("guest-get-osinfo")


def test_a_freeze_that_finds_nothing_leaves_its_words_to_blocked_commands() -> None:
    # commands-posix.c: ga_set_frozen() comes first, ga_unset_frozen() when nothing was frozen.
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    assert course.say("guest-fsfreeze-freeze-list", mountpoints=["/nosuch"]) == {"return": 0}
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert error(course.say("guest-exec")) == FROZEN.format("guest-exec")
    assert "return" in course.say("guest-get-osinfo")


NOT_ALLOWED = "Command {} has been disabled: the command is not allowed"
#: How releases refuse guest-exec, as blocked and as not allowed, while frozen and after the thaw.
REFUSED = [
    ("6.2", "block_rpcs: [guest-exec]", BLOCKED, FROZEN, FROZEN),
    # qga/main.c before 9.1: a command that is not allowed is told so from the start.
    ("8.2", "block_rpcs: [guest-exec]", BLOCKED, FROZEN, FROZEN),
    ("8.2", "allow_rpcs: [guest-fsfreeze-freeze]", NOT_ALLOWED, FROZEN, FROZEN),
    ("10.0", "block_rpcs: [guest-exec]", NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED),
    ("10.0", "allow_rpcs: [guest-fsfreeze-freeze]", NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED),
]


@pytest.mark.parametrize(("release", "option", "before", "frozen", "after"), REFUSED)
def test_why_a_command_is_refused_depends_on_when(
    release: str, option: str, before: str, frozen: str, after: str
) -> None:
    course = Course(f'qgasim: 1\nagent: {{release: "{release}", {option}}}')

    def refused() -> str:
        return error(course.say("guest-exec"))

    said = [refused()]
    course.say("guest-fsfreeze-freeze")
    said.append(refused())
    course.agent.guest.thaw()
    course.agent.thaw()
    assert [*said, refused()] == [text.format("guest-exec") for text in (before, frozen, after)]


def test_what_may_be_done_while_frozen_is_served_then_although_it_is_blocked() -> None:
    # Since 9.1 (qga/main.c, ga_command_is_allowed()).
    both = "allow_rpcs: [guest-fsfreeze-freeze, guest-sync], block_rpcs: [guest-sync]"
    listed = "allow_rpcs: [guest-fsfreeze-freeze]"
    for release, options, is_served in (("8.2", listed, False), ("9.1", both, True)):
        course = Course(f'qgasim: 1\nagent: {{release: "{release}", {options}}}')
        assert "error" in course.say("guest-sync", id=1)
        assert course.say("guest-fsfreeze-freeze") == {"return": 1}
        assert ("return" in course.say("guest-sync", id=1)) == is_served
        if is_served:
            assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
            assert course.say("guest-fsfreeze-thaw") == {"return": 1}
            assert "error" in course.say("guest-sync", id=1)
            assert "error" in course.say("guest-fsfreeze-thaw")


def test_a_blocked_command_of_an_agent_that_starts_frozen_is_refused_as_blocked() -> None:
    # qga/main.c, initialize_agent(): what is blocked comes after what is not safe.
    course = Course("qgasim: 1\nagent: {block_rpcs: [guest-exec]}")
    course.say("guest-fsfreeze-freeze")
    course.kill_agent()
    course.advance(1)
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")
    assert error(course.say("guest-get-osinfo")) == FROZEN.format("guest-get-osinfo")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert error(course.say("guest-exec")) == BLOCKED.format("guest-exec")


def test_a_freeze_that_fails_thaws_and_calls_the_hook() -> None:
    # commands-posix.c, qmp_guest_fsfreeze_freeze_list(): qmp_guest_fsfreeze_thaw(NULL).
    hook = "#!/bin/sh\\necho $1 >> /tmp/called\\n[ $1 = freeze ]\\n"
    course = Course(f"""
qgasim: 1
agent: {{fsfreeze_hook: /hook}}
guest:
  files: {{/hook: {{text: "{hook}", mode: "755"}}}}
  mounts:
    - {{device: /dev/vda1, path: /, size: 1000000, freeze_error: EIO}}
    - {{device: /dev/vda2, path: /data, size: 1000000}}
  disks: [{{name: vda, partitions: [{{name: vda1}}, {{name: vda2}}]}}]
""")
    said = error(course.say("guest-fsfreeze-freeze"))
    assert said == "failed to freeze /: Input/output error"
    assert course.say("guest-fsfreeze-status") == {"return": "thawed"}
    assert course.guest.files.read("/tmp/called") == b"freeze\nthaw\n"


def test_what_is_not_allowed_is_blocked_before_and_after_a_thaw() -> None:
    allowed = "[guest-fsfreeze-freeze, guest-fsfreeze-thaw]"
    course = Course(f"qgasim: 1\nagent: {{allow_rpcs: {allowed}}}")
    assert error(course.say("guest-ping")) == BLOCKED.format("guest-ping")
    assert course.say("guest-fsfreeze-freeze") == {"return": 1}
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert course.say("guest-ping")["error"]["class"] == NOT_FOUND


def test_sigterm_does_not_end_a_frozen_agent() -> None:
    course = Course()
    course.say("guest-fsfreeze-freeze")
    process = course.agent.process
    course.kill_agent(15)
    course.advance(1)
    assert course.agent.process is process
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    course.kill_agent(15)
    course.advance(1)
    assert course.agent.process is not process


def test_an_agent_killed_while_frozen_starts_frozen() -> None:
    course = Course()
    course.say("guest-fsfreeze-freeze")
    process = course.agent.process
    course.kill_agent()
    course.advance(1)
    assert course.agent.process is not process
    assert course.say("guest-fsfreeze-status") == {"return": "frozen"}
    assert error(course.say("guest-get-osinfo")) == FROZEN.format("guest-get-osinfo")
    assert course.say("guest-fsfreeze-thaw") == {"return": 1}
    assert "return" in course.say("guest-get-osinfo")
