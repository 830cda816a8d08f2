"""What single releases changed, before and after: each test names where that is known from."""

import json
from typing import Any

import pytest

from tests.serving import Course, error

UNSUPPORTED = "this feature or command is not currently supported"


def agent(release: str, *, guest: str = "{}", **settings: Any) -> Course:
    """Return a guest of lab-vm with an agent of that release."""
    written = json.dumps({"release": release, **settings})
    return Course(f"qgasim: 1\nextends: lab-vm\nagent: {written}\nguest: {guest}")


def ask(release: str, data: bytes, **settings: Any) -> list[Any]:
    """Send *data* to an agent of that release; return its replies."""
    return [json.loads(line) for line in agent(release, **settings).send(data).splitlines()]


# -- the wire --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "error_class"),
    [("3.1", "GenericError"), ("4.1", "GenericError"), ("4.2", "CommandNotFound")],
)
def test_a_command_is_refused_as_not_found_since_4_2(release: str, error_class: str) -> None:
    # Commit 2546be1c85; 3.1.0 and 4.2.0 recorded.
    said = {
        "class": error_class,
        "desc": "The command guest-shutdown has been disabled for this instance",
    }
    (reply,) = ask(release, b'{"execute":"guest-shutdown"}', block_rpcs=["guest-shutdown"])
    assert reply == {"error": said}
    course = agent(release)
    course.say("guest-fsfreeze-freeze")
    assert course.say("guest-shutdown") == {"error": said}
    # A command that there is not has always been told so.
    assert ask(release, b'{"execute":"guest-nope"}')[0]["error"]["class"] == "CommandNotFound"


@pytest.mark.parametrize("message", [b"[]", b"1\n", b"true\n", b'""'])
def test_what_is_no_object_is_told_otherwise_since_4_0(message: bytes) -> None:
    # Commit 781f2b3d1e; 3.1.0 recorded (wire/bare-*).
    for release, text in (("3.1", "Input"), ("4.0", "QMP input")):
        (reply,) = ask(release, message)
        assert error(reply) == f"{text} must be a JSON object"


@pytest.mark.parametrize(
    ("message", "later"),
    [
        (b"{}", "QMP input lacks member 'execute'"),
        (b'{"a":1}', "QMP input member 'a' is unexpected"),
        (b'{"arguments":1}', "QMP input member 'arguments' must be an object"),
    ],
)
def test_3_1_looks_for_execute_before_all_else(message: bytes, later: str) -> None:
    # 3.1.0 recorded (wire/empty-object and others).
    for release, text in (("3.1", UNSUPPORTED), ("4.0", later)):
        (reply,) = ask(release, message)
        assert error(reply) == text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("/%%a%b%n", "/%abn"),
        # A backslash stands for itself then, and so does a quote.
        (r"/%\nx", r"/\nx"),
        (r"/%\\nx", "/\\\nx"),
        (r"/%'x", "/'x"),
        # The parser sees this quote first, and passes over what follows.
        (r"/%\"x", "/\\"),
        ("/%\u00e9", "/\u00e9"),
        (r"/\u0025x", "/%x"),
        ("/plain", "/plain"),
    ],
)
def test_3_1_drops_percent_signs_in_strings(written: str, read: str) -> None:
    # Commit bbc0586ced (4.0); 3.1.0 recorded (wire, and random rounds).
    sent = f'{{"execute":"guest-file-open","arguments":{{"path":"{written}"}}}}'.encode()
    (reply,) = ask("3.1", sent)
    assert error(reply) == f"failed to open file '{read}' (mode: 'r'): No such file or directory"
    (reply,) = ask("4.0", sent)
    kept = sent.decode().replace(r"\'", "'")
    path = json.loads(kept)["arguments"]["path"]
    assert error(reply).startswith(f"failed to open file '{path}'")


def test_3_1_takes_four_bytes_after_a_u_whatever_they_are() -> None:
    (reply,) = ask("3.1", rb'{"execute":"\u%260"}')
    assert error(reply) == r"JSON parse error, \u%260 is not a valid Unicode character"


@pytest.mark.parametrize(
    ("before", "texts"),
    [
        (b'{"execute":"guest-ping%"}', []),
        (b"{'execute':'guest-ping%'}", []),
        (b'{"execute":"a%%%"}', []),
        # It is the parser that fails, so what is wrong before the string is told.
        (b'{"execute":1 "x%"}', ["JSON parse error, expected separator in dict"]),
        (b'{"\\x":"x%"}', ["JSON parse error, invalid escape sequence in string"]),
        (b'{"execute":"\\q%"}', ["JSON parse error, invalid escape sequence in string"]),
    ],
)
def test_a_percent_sign_at_the_end_of_a_string_ends_the_agent_of_3_1(
    before: bytes, texts: list[str]
) -> None:
    course = agent("3.1", respawn="5s")
    said = course.send(b'{"execute":"guest-ping"}' + before + b'{"execute":"guest-sync"}')
    replies = [json.loads(line) for line in said.splitlines()]
    assert replies[0] == {"return": {}}
    if texts:
        assert list(map(error, replies[1:-1])) == texts
        assert error(replies[-1]) == "Parameter 'id' is missing"
        return
    # What was sent after it is lost with the process.
    assert len(replies) == 1
    assert course.agent.process is None
    course.advance(6)
    assert course.say("guest-ping") == {"return": {}}


def test_of_members_with_the_same_key_the_last_counts_in_3_1() -> None:
    # Commit 00382fa851 (4.0); 3.1.0 recorded (wire/dup-*).
    sent = b'{"execute":"guest-sync","arguments":{"id":1,"id":2}}'
    assert ask("3.1", sent) == [{"return": 2}]
    (reply,) = ask("4.0", sent)
    assert error(reply) == "JSON parse error, duplicate key"


def test_a_brace_too_many_leaves_a_message_open_before_5_0() -> None:
    # Commit 1394dc0690; 4.2.0 and 5.0.0 recorded (random rounds).
    sent = b'[}\n{"execute":"guest-ping"}\n]\n'
    value = "JSON parse error, expecting value"
    assert [error(reply) for reply in ask("4.2", sent)] == [value]
    first, ping, last = ask("5.0", sent)
    assert (error(first), ping, error(last)) == (value, {"return": {}}, value)


@pytest.mark.parametrize(
    ("release", "sent", "expected"),
    [
        ("3.1", b'{"execute":"guest-sync","arguments":{"id":1,"id":2}}', {"return": 2}),
        ("3.1", b'{"execute":"guest%-ping"}', {"return": {}}),
        ("4.2", b'[}{"execute":"guest-ping"}]', "JSON parse error, expecting value"),
        ("10.0", b"}", "JSON parse error, expecting value"),
        # After a line break: in line 2.
        ("11.1", b"}", "2:1: JSON parse error, expecting value"),
    ],
)
def test_an_agent_that_reads_lines_reads_them_as_its_release(
    release: str, sent: bytes, expected: Any
) -> None:
    # What commits bbc0586ced and 00382fa851 (4.0) and 1394dc0690 (5.0) changed, and 11.1's places, whatever `needs_newline` says.
    course = agent(release, needs_newline=True)
    assert course.send(b"\n" + sent) == b""
    reply = json.loads(course.send(b"\n"))
    assert (error(reply) if isinstance(expected, str) else reply) == expected


# -- files and time --------------------------------------------------------------------------------


def test_a_read_is_limited_to_48_mib_since_5_0() -> None:
    # Commit 1329651fb4; 3.1.0 recorded (file/read-max-plus-1).
    for release, most in (("3.1", (1 << 32) - 2), ("4.2", (1 << 32) - 2), ("5.0", 48 << 20)):
        course = agent(release)
        handle = course.say("guest-file-open", path="/etc/hostname")["return"]
        assert course.say("guest-file-read", handle=handle, count=most)["return"]["count"] > 0
        reply = course.say("guest-file-read", handle=handle, count=most + 1)
        assert error(reply) == f"value '{most + 1}' is invalid for argument count"


def test_nvme_disks_of_file_systems_are_listed_since_5_2() -> None:
    # Commits d9fe4f0fea and 23843c129d; 3.1.0 and 5.2.0 recorded (fs/nvme-fsinfo).
    guest = (
        "{disks: [{name: nvme0n1, bus: nvme, size: 1GiB, partitions: [{name: nvme0n1p1}]}], "
        "mounts: [{device: /dev/nvme0n1p1, path: /, size: 1GiB}]}"
    )
    for release, count in (("3.1", 0), ("5.1", 0), ("5.2", 1)):
        text = f"qgasim: 1\nagent: {{release: '{release}'}}\nguest: {guest}"
        (told,) = Course(text).say("guest-get-fsinfo")["return"]
        assert len(told["disk"]) == count


def test_the_time_is_set_without_an_hwclock_up_to_4_2() -> None:
    # Commit 5c6096e565 (5.0); 3.1.0 and 5.2.0 recorded (time/no-hwclock).
    wanted = 1_800_000_000 * 10**9
    failed = "hwclock failed to set hardware clock to system time"
    for release, text, is_set in (("4.2", failed, True), ("5.0", UNSUPPORTED, False)):
        course = agent(release, guest="{files: {/sbin/hwclock: null}}")
        assert error(course.say("guest-set-time", time=wanted)) == text
        assert (course.say("guest-get-time")["return"] >= wanted) == is_set
        assert error(course.say("guest-set-time")) == text


# -- agents that die -------------------------------------------------------------------------------


def state_after(course: Course, command: str, **arguments: Any) -> tuple[Any, bool]:
    """Return what was answered, and whether the agent outlived it."""
    process = course.agent.process
    return course.say(command, **arguments), course.agent.process is process


@pytest.mark.parametrize(
    ("release", "survives"),
    [("3.1", True), ("4.0", False), ("4.2", False), ("5.0", False), ("5.1", True)],
)
def test_4_0_to_5_0_abort_after_what_is_not_answered(release: str, survives: bool) -> None:
    # Commit 781f2b3d1e: send_response() asserts that there is something to send.
    for command in ("guest-shutdown", "guest-suspend-ram", "guest-suspend-disk"):
        course = agent(release)
        assert state_after(course, command) == (None, survives)
        # It had been done.
        course.advance(20)
        assert course.guest.power.events
        assert state_after(agent(release, quirks={"silent_abort": "off"}), command) == (None, True)
    # What fails is answered.
    reply, is_same = state_after(agent(release), "guest-shutdown", mode="fast")
    assert error(reply).startswith("mode is invalid")
    assert is_same


def test_the_quirk_of_silence_can_be_given_to_any_release() -> None:
    course = agent("11.1", quirks={"silent_abort": "on"}, respawn="1s")
    assert state_after(course, "guest-suspend-ram") == (None, False)


@pytest.mark.parametrize(
    ("release", "survives"),
    [("9.0", True), ("9.1", False), ("9.1.1", False), ("9.1.2", True), ("9.2", True)],
)
def test_9_1_dies_when_a_helper_prints(release: str, survives: bool) -> None:
    # openwrt/packages issue 25209 and pull request 25825.
    guest = (
        "{files: {/sbin/hwclock: {text: \"#!/bin/sh\\necho hello\\n\", mode: '755'}, "
        "/etc/hook: {text: \"#!/bin/sh\\necho hello >&2\\n\", mode: '755'}}}"
    )
    course = agent(release, guest=guest)
    assert state_after(course, "guest-set-time") == ({"return": {}} if survives else None, survives)
    course = agent(release, guest=guest, fsfreeze_hook="/etc/hook")
    said = {"return": 4} if survives else None
    assert state_after(course, "guest-fsfreeze-freeze") == (said, survives)
    # What cannot be started says so.
    course = agent(release, guest="{files: {/sbin/shutdown: null}}")
    assert state_after(course, "guest-shutdown")[1] == survives
    # One that prints nothing does no harm.
    assert state_after(agent(release), "guest-set-time") == ({"return": {}}, True)
    course = agent(release, guest=guest, quirks={"helper_output_crash": "off"})
    assert state_after(course, "guest-set-time") == ({"return": {}}, True)


# -- Windows ---------------------------------------------------------------------------------------


def windows(release: str, **settings: Any) -> Course:
    written = json.dumps({"release": release, **settings})
    return Course(f"qgasim: 1\nextends: windows-server-2022\nagent: {written}")


def test_windows_says_lld_of_an_unknown_pid() -> None:
    # 6.2.0, 8.2.0 and 10.2.2 recorded on Windows: PRId64 of mingw.
    for release, text in (
        ("6.2", "Invalid parameter 'pid'"),
        ("8.2", "PID lld does not exist"),
        ("10.2", "PID lld does not exist"),
    ):
        assert error(windows(release).say("guest-exec-status", pid=7)) == text
    course = windows("10.2", quirks={"pid_ld": "off"})
    assert error(course.say("guest-exec-status", pid=7)) == "PID 7 does not exist"


@pytest.mark.parametrize("mode", ["stdout", "stderr"])
def test_an_agent_on_windows_dies_of_capturing_one_stream(mode: str) -> None:
    # 8.2.0 and 10.2.2 under Wine for "stdout"; "stderr" was read. In no recording here.
    for release in ("8.1", "8.2", "10.2"):
        course = windows(release)
        said, survives = state_after(course, "guest-exec", path="cmd.exe", capture_output=mode)
        assert (said, survives) == (None, False)
        # It had to be started first.
        said, survives = state_after(course, "guest-exec", path="nope", capture_output=mode)
        assert "Failed to execute child process" in error(said)
        assert survives


def test_windows_takes_no_nul_in_a_path() -> None:
    # 3.1.0, 6.2.0 and 10.2.2 recorded on Windows (random rounds, one each); 8.2.0 seen under Wine.
    why = "Invalid byte sequence in conversion input"
    for release, text in (
        ("3.1", f"Guest agent command failed, error was '{why}'"),
        ("8.2", f"Guest agent command failed, error was '{why}'"),
        ("10.2", f"can't convert 'path' to UTF-16: {why}"),
    ):
        course = windows(release)
        assert error(course.say("guest-file-open", path="C:\\a\0b")) == text
        # What the mode is, is looked at before.
        reply = course.say("guest-file-open", path="C:\\a\0b", mode="ab")
        assert error(reply) == "invalid file open mode"


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"path": "a\0"}, "argument vector at 0"),
        ({"path": "cmd.exe", "arg": ["x", "\0"]}, "argument vector at 2"),
        ({"path": "cmd.exe", "env": ["A=\0"]}, "environment"),
        ({"path": "cmd.exe", "arg": ["\0"], "env": ["A=\0"]}, "argument vector at 1"),
    ],
)
def test_windows_takes_no_nul_in_what_a_program_is_given(
    arguments: dict[str, Any], place: str
) -> None:
    # Seen under Wine, and in no recording here.
    text = f"Invalid string in {place}: Invalid byte sequence in conversion input"
    for release, wrapped in (
        ("8.2", f"Guest agent command failed, error was '{text}'"),
        ("10.2", text),
    ):
        assert error(windows(release).say("guest-exec", **arguments)) == wrapped


def test_writing_nothing_makes_no_file_of_windows_longer() -> None:
    # Seen under Wine, and in no recording here.
    course = windows("10.2")
    handle = course.say("guest-file-open", path="C:\\a.txt", mode="w")["return"]
    course.say("guest-file-seek", handle=handle, offset=100, whence=0)
    reply = course.say("guest-file-write", handle=handle, buf_b64="")
    assert reply == {"return": {"count": 0, "eof": False}}
    assert (
        course.say("guest-file-seek", handle=handle, offset=0, whence=2)["return"]["position"] == 0
    )


@pytest.mark.parametrize(
    ("release", "number"),
    [("10.0.3", False), ("10.0.4", True), ("10.1.0", False), ("10.1.1", True), ("10.2", True)],
)
def test_errors_of_vss_have_a_number_since_10_2(release: str, number: bool) -> None:
    # A patch to qga/vss-win32/requester.cpp, with the number of the first text.
    mounts = (
        "[{device: /dev/sda2, path: 'C:\\'}, {device: /dev/sda1, path: 'D:\\', freeze_error: EIO}]"
    )
    course = Course(
        f"qgasim: 1\nextends: windows-server-2022\nagent: {{release: '{release}'}}\n"
        f"guest: {{mounts: {mounts}}}"
    )
    told = "Windows error 0x8004230e: " if number else ""
    reply = course.say("guest-fsfreeze-freeze")
    assert error(reply) == f"failed to add D:\\ to snapshot set: {told}"
    assert course.say("guest-fsfreeze-freeze-list", mountpoints=["C:\\"]) == {"return": 1}
    course.advance(11)
    told = "Windows error 0x80042314: " if number else ""
    text = "couldn't hold writes: fsfreeze is limited up to 10 seconds: "
    assert error(course.say("guest-fsfreeze-thaw")) == text + told
