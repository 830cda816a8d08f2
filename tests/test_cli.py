"""The command line, called as a function and started as a program."""

import fcntl
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest

from qgasim import __version__
from qgasim.cli.parser import COMMANDS, Parser
from qgasim.faults import AnyFault
from qgasim.scenario import library, load
from tests.command_line import ROOT, run
from tests.serving import connect, read_line, serving

NO_ADDRESS = (
    "qgasim: --listen: expected unix:PATH, tcp:[HOST:]PORT, vsock:CID:PORT or stdio, found '{}' "
    "(try qgasim --help)"
)
#: What is typed, and the one line that is the answer ({} is a directory of the test's own).
REFUSED: dict[str, tuple[list[str], str]] = {
    # qga/main.c of 8.2 and 9.0.
    "lists that exclude each other": (
        ["--agent", "8.2", "--allow-rpcs", "guest-ping", "--block-rpcs", "guest-exec"],
        (
            "qgasim: --allow-rpcs: agent.allow_rpcs: qemu-ga 8.2.0 does not start: wrong commandline, using "
            "--block-rpcs and --allow-rpcs at the same time is not allowed"
        ),
    ),
    "an unknown option": (["--nope"], "qgasim: unrecognized arguments: --nope (try qgasim --help)"),
    "an unknown option after a known one": (
        ["--quiet", "--nope", "nope"],
        "qgasim: unrecognized arguments: --nope nope (try qgasim --help)",
    ),
    "an option that is misspelled": (
        ["--scenaro", "x"],
        (
            "qgasim: unrecognized arguments: --scenaro x (did you mean '--scenario'?) "
            "(try qgasim --help)"
        ),
    ),
    "a word": (["nope"], "qgasim: no such command: 'nope' (try qgasim --help)"),
    "a command that is misspelled": (
        ["chekc", "a.yaml"],
        "qgasim: no such command: 'chekc' (did you mean 'check'?) (try qgasim --help)",
    ),
    "a command that is misspelled, for its help": (
        ["chekc", "--help"],
        "qgasim: no such command: 'chekc' (did you mean 'check'?) (try qgasim --help)",
    ),
    "a scenario's name": (
        ["debian-12"],
        (
            "qgasim: no such command: 'debian-12' (did you mean '--scenario debian-12'?) "
            "(try qgasim --help)"
        ),
    ),
    "a scenario's file": (
        ["--quiet", "mine.yaml"],
        (
            "qgasim: no such command: 'mine.yaml' (did you mean '--scenario mine.yaml'?) "
            "(try qgasim --help)"
        ),
    ),
    "a command after options": (
        ["--quiet", "call", "s", "guest-ping"],
        (
            "qgasim: a command comes first, its options after it, as in qgasim call --help "
            "(try qgasim --help)"
        ),
    ),
    "what moves the cursor": (
        ["\x1b[2J"],
        "qgasim: no such command: '\\x1b[2J' (try qgasim --help)",
    ),
    "a value that is missing": (
        ["--scenario"],
        "qgasim: argument --scenario: expected one argument (try qgasim --help)",
    ),
    "a shared folder without a place in the guest": (
        ["--share", "out"],
        "qgasim: not a shared folder: 'out' (expected HOST_DIR=GUEST_DIR, as in out=/mnt/out)",
    ),
    "a shared folder that is not there": (
        ["--share", "{}/out=/mnt"],
        "qgasim: share {}/out=/mnt: {}/out: No such file or directory",
    ),
    "a seed that is no number": (
        ["--seed", "x"],
        "qgasim: argument --seed: invalid int value: 'x' (try qgasim --help)",
    ),
    "an unknown scenario": (
        ["--scenario", "nosuch"],
        "qgasim: nosuch: no such scenario (`qgasim scenarios` lists them)",
    ),
    "a scenario file that is not there": (
        ["--scenario", "{}/a.yaml"],
        "qgasim: {}/a.yaml: no such file",
    ),
    "an unknown release": (
        ["--agent", "1.0"],
        (
            "qgasim: --agent: agent.release: no such release: '1.0' "
            "(expected one from 2.5 to 11.1, as in 7.2 or 7.2.22)"
        ),
    ),
    "a setting without a value": (
        ["--set", "guest.hostname"],
        "qgasim: --set: expected KEY=VALUE, as in guest.hostname=db1, found 'guest.hostname'",
    ),
    "a setting that there is not": (
        ["--set", "guest.hostnmae=db1"],
        (
            "qgasim: --set guest.hostnmae:1:1: guest: unknown key 'hostnmae' "
            "(did you mean 'hostname'?)"
        ),
    ),
    "a kind of fault that there is not": (
        ["--fault", "{kind: dealy, on: guest-ping}"],
        (
            "qgasim: --fault:1:8: faults[0].kind: expected one of "
            f"{', '.join(cls.__struct_config__.tag for cls in get_args(AnyFault))}, found 'dealy' "
            "(did you mean 'delay'?)"
        ),
    ),
    "no fault": (
        ["--fault", ""],
        "qgasim: --fault: expected a fault, as in '{kind: hang, on: guest-ping}'",
    ),
    "UDP": (
        ["--listen", "udp:4444"],
        NO_ADDRESS.format("udp:4444"),
    ),
    "a port that is none": (
        ["--listen", "tcp:127.0.0.1:99999"],
        NO_ADDRESS.format("tcp:127.0.0.1:99999"),
    ),
    "no path": (
        ["--listen", "unix:"],
        NO_ADDRESS.format("unix:"),
    ),
    "a directory that is not there": (
        ["--listen", "unix:{}/no/s"],
        "qgasim: {}/no/s: cannot listen: No such file or directory",
    ),
    "a log that cannot be written": (
        ["--log", "{}/no/log"],
        "qgasim: --log {}/no/log: No such file or directory",
    ),
    "a directory for a scenario": (
        ["--scenario", "{}"],
        "qgasim: {}: a directory (expected a file in it, or the name of a scenario)",
    ),
    "a directory to show": (
        ["show", "{}"],
        "qgasim: {}: a directory (expected a file in it, or the name of a scenario)",
    ),
    "nowhere to begin": (
        ["init", ""],
        "qgasim init: FILE: expected a path, found '' (try qgasim init --help)",
    ),
    "call without a socket": (
        ["call", "", "guest-ping"],
        (
            "qgasim call: argument ADDRESS: expected the path of a unix socket, found '' "
            "(try qgasim call --help)"
        ),
    ),
    "call by UDP": (
        ["call", "tcp:udp", "guest-ping"],
        (
            "qgasim call: argument ADDRESS: expected tcp:[HOST:]PORT, found 'tcp:udp' "
            "(try qgasim call --help)"
        ),
    ),
    "call with an argument twice": (
        ["call", "s", "guest-sync", "id=1", "id=2"],
        "qgasim call: 'id' is given twice (try qgasim call --help)",
    ),
    "call with a number that JSON has not": (
        ["call", "s", "guest-sync", '{"id": NaN}'],
        ("qgasim call: not JSON: '{\"id\": NaN}' (no value of JSON: NaN) (try qgasim call --help)"),
    ),
    "call with more levels than Python reads": (
        ["call", "s", "guest-sync", '{"id": ' + "[" * 100_000],
        (
            f"qgasim call: not JSON: '{{\"id\": {'[' * 93}...' (too many levels) "
            "(try qgasim call --help)"
        ),
    ),
    "call without a command": (
        ["call", "s"],
        "qgasim call: the following arguments are required: COMMAND (try qgasim call --help)",
    ),
    "call with a bare word": (
        ["call", "s", "guest-ping", "word"],
        "qgasim call: expected key=value, found 'word' (try qgasim call --help)",
    ),
    "call with a value but no name": (
        ["call", "s", "guest-ping", "=1"],
        "qgasim call: expected key=value, found '=1' (try qgasim call --help)",
    ),
    "call with broken JSON": (
        ["call", "s", "guest-ping", "{1"],
        (
            "qgasim call: not JSON: '{1' (Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)) (try qgasim call --help)"
        ),
    ),
    "call with a time-out below zero": (
        ["call", "s", "guest-ping", "--timeout=-1"],
        (
            "qgasim call: argument --timeout: expected a number of seconds above 0, found '-1' "
            "(try qgasim call --help)"
        ),
    ),
    "call with a time-out that is no number": (
        ["call", "s", "guest-ping", "--timeout=nan"],
        (
            "qgasim call: argument --timeout: expected a number of seconds above 0, found 'nan' "
            "(try qgasim call --help)"
        ),
    ),
    "scenarios with a word": (
        ["scenarios", "x"],
        "qgasim scenarios: unrecognized arguments: x (try qgasim scenarios --help)",
    ),
}

BROKEN = """\
qgasim: 1
guest:
  hostnmae: web1
  vcpus: many
"""

#: Arguments of `qgasim call`, and what the request then has.
CALLS: dict[str, tuple[list[str], str]] = {
    "no arguments": (["guest-ping"], "{}\n"),
    "a number": (["guest-sync", "id=7"], "7\n"),
    "JSON": (["guest-sync", '{"id": -8}'], "-8\n"),
    # The order of the members is the agent's (tests/golden/7.2/system.jsonl, timezone-utc).
    "an empty object": (["guest-get-timezone", "{}"], '{\n  "zone": "UTC",\n  "offset": 0\n}\n'),
    "a text": (["guest-file-open", "path=/etc/hostname", "mode=r"], "1000\n"),
    "a list": (["guest-fsfreeze-freeze-list", 'mountpoints=["/nowhere"]'], "0\n"),
    "a truth": (
        ["guest-ssh-add-authorized-keys", "username=debian", 'keys=["a"]', "reset=true"],
        "{}\n",
    ),
}

#: Calls that the agent refuses (recorded: tests/golden/7.2, wire.jsonl and args.jsonl).
CALLS_REFUSED: dict[str, tuple[list[str], str]] = {
    "an unknown command": (
        ["guest-nope"],
        "CommandNotFound: The command guest-nope has not been found\n",
    ),
    "a missing argument": (["guest-sync"], "GenericError: Parameter 'id' is missing\n"),
    "a text for a number": (
        ["guest-sync", "id=x"],
        "GenericError: Invalid parameter type for 'id', expected: integer\n",
    ),
}


def only_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text[:-1]


# -- errors in one line ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, answer = REFUSED[name]
    # A server that started after all must not run for ever: the scenario is read before.
    assert run([word.replace("{}", str(tmp_path)) for word in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert only_line(err) == answer.replace("{}", str(tmp_path))


def test_an_unknown_channel_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--channel", "virtio"]) == 2
    # What is between is worded differently by each release of Python.
    line = only_line(capfd.readouterr().err)
    assert line.startswith("qgasim: argument --channel: invalid choice: 'virtio'")
    assert line.endswith(" (did you mean 'virtio-serial'?) (try qgasim --help)")


def test_each_fault_of_a_scenario_gets_a_line_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BROKEN)
    assert run(["--scenario", str(path)]) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"qgasim: {path}:3:3: guest: unknown key 'hostnmae' (did you mean 'hostname'?)",
        f"qgasim: {path}:4:10: guest.vcpus: expected an integer or a list, found 'many'",
    ]


def test_a_socket_path_that_is_too_long_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = f"{tmp_path}/{'s' * 108}"
    assert run(["--listen", f"unix:{path}"]) == 2
    # sun_path has 108 bytes, one of them for the closing NUL (unix(7)).
    assert (
        only_line(capfd.readouterr().err)
        == f"qgasim: {path}: too long for a unix socket (107 bytes at most)"
    )


def test_a_second_server_on_the_same_socket_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as thread:
        assert run(["--listen", f"unix:{thread.path}"]) == 2
        assert (
            only_line(capfd.readouterr().err)
            == f"qgasim: {thread.path}: another server is listening there"
        )
        with connect(thread.path) as sock:
            sock.sendall(b'{"execute":"guest-ping"}')
            assert read_line(sock) == b'{"return": {}}\n'


def test_a_file_that_is_not_a_socket_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    assert run(["serve", "--listen", f"unix:{path}"]) == 2
    assert (
        only_line(capfd.readouterr().err) == f"qgasim: {path}: there is a file that is not a socket"
    )
    assert path.read_text() == "precious"


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"qgasim {__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_there_is_help_for_all_that_can_be_given(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert capfd.readouterr().out.startswith("usage: qgasim")
    asked: list[Any] = []
    monkeypatch.setattr(Parser, "print_help", lambda parser: asked.append(parser))  # noqa: PLW0108
    assert run([*command.split(), "--help"]) == 0
    (parser,) = asked
    assert parser.description
    assert [action.dest for action in parser._actions if not action.help] == []


def test_the_shipped_scenarios_are_listed_with_a_line_each(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["scenarios"]) == 0
    lines = capfd.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert sorted(names) == sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))
    (at,) = [i for i, line in enumerate(lines) if line.startswith("debian-12 ")]
    assert lines[at].endswith(" A Debian 12 server, fresh from its cloud image.")
    assert lines[at + 1].strip().startswith("Debian 12.5 genericcloud image")


@pytest.mark.slow
def test_scenarios_are_searched_in_all_that_they_say_of_themselves(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["scenarios", "--search", "GENERICCLOUD"]) == 0
    assert capfd.readouterr().out.startswith("debian-12 ")
    assert run(["scenarios", "--search", "no such word"]) == 1
    assert capfd.readouterr() == ("", "qgasim: no scenario mentions 'no such word'\n")


def test_scenarios_are_listed_by_name_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "--names"]) == 0
    names = capfd.readouterr().out.splitlines()
    assert names == sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))


@pytest.mark.slow
def test_the_list_of_scenarios_is_wrapped_to_the_terminal() -> None:
    host, terminal = os.openpty()
    # The size that an xterm has (struct winsize of ioctl_tty(2)).
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    command = [sys.executable, "-m", "qgasim", "scenarios", "--search", "genericcloud"]
    environment = {name: os.environ[name] for name in os.environ if name != "COLUMNS"}
    with subprocess.Popen(command, stdout=terminal, cwd=ROOT, env=environment):
        os.close(terminal)
        printed = b""
        # EIO: the program has ended, and no other has the terminal.
        with suppress(OSError):
            while data := os.read(host, 4096):
                printed += data
    os.close(host)
    lines = printed.decode().splitlines()
    assert lines[0].startswith("debian-12 ")
    at = lines[0].index("A Debian 12 server")
    assert all(len(line) <= 80 and not line[:at].strip() for line in lines[1:] if line[0] == " ")


@pytest.mark.slow
def test_scenarios_are_listed_by_tag(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "--tag", "fleet", "--tag", "account"]) == 0
    lines = capfd.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    tagged = {name for name, path in library().items() if {"fleet", "account"} & {*load(path).tags}}
    assert set(names) == tagged
    assert {"fleet-one-hung", "ssh-key-newline"} < tagged
    assert run(["scenarios", "--tag", "freez"]) == 2
    assert capfd.readouterr().err.startswith(
        "qgasim: there is no tag 'freez' (did you mean 'freeze'?) (there are: account, "
    )


# -- check, show, init -----------------------------------------------------------------------------


def test_check_says_all_that_is_wrong_with_all_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("sed: 1\nguest: {vcpus: 0}\n")
    (tmp_path / "b.yml").write_text("extends: debian-12\n")
    (tmp_path / "c.txt").write_text("not: looked at\n")
    assert run(["check", str(tmp_path), "nosuch", "debian-12"]) == 1
    assert capfd.readouterr().err.splitlines() == [
        f"{tmp_path}/a.yaml:1:1: unknown key 'sed' (did you mean 'seed'?)",
        f"{tmp_path}/a.yaml:2:16: guest.vcpus: expected from 1 to 8192, found 0",
        "nosuch: no such scenario (`qgasim scenarios` lists them)",
    ]


@pytest.mark.slow
def test_check_is_silent_about_what_is_right(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(ROOT / "scenarios")]) == 0
    assert capfd.readouterr() == ("", "")


SCRIPT = """\
qgasim: 1
extends: debian-12
agent: {fsfreeze_hook: /etc/qemu/hook}
guest:
  programs: [{path: /usr/bin/mysql}]
  files:
    /etc/qemu/hook:
      mode: "0755"
      text: |
        #!/bin/sh
        logger() { echo "$@"; }
        logger freezing
        sort --parallel=4 -n /x | od -c
        if mysql -e flush; then $UNKNOWN; /opt/tool -x; else ls -Z / && sed -n 1p x; fi
    /opt/tool: {text: "#!/bin/bash\\nx=$(hexdump /y)\\nhexdump /y\\n", mode: "0755"}
    /opt/broken: "#!/bin/sh\\nif\\n"
    /opt/other: "#!/usr/bin/perl\\nfoo bar\\n"
    /srv/readme: "od is not here\\n"
"""


def test_check_warns_of_what_scripts_use_and_guests_do_not_have(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hook.yaml").write_text(SCRIPT)
    assert run(["check", str(tmp_path)]) == 0
    hook, tool = (f"{tmp_path}/hook.yaml:{at}: guest.files." for at in ("9:13", "15:23"))
    place = "/etc/qemu/hook.text: warning: line"
    assert capfd.readouterr().err.splitlines() == [
        f"{hook}{place} 4 of the script: sort: option '--parallel' is not simulated",
        f"{hook}{place} 4 of the script: there is no program 'od' (give it under guest.programs)",
        f"{hook}{place} 5 of the script: ls: option '-Z' is not simulated",
        *(
            f"{tool}/opt/tool.text: warning: line {line} of the script: there is no program"
            " 'hexdump' (give it under guest.programs)"
            for line in (2, 3)
        ),
    ]


def test_check_says_that_there_is_nothing_to_check(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("not: looked at\n")
    assert run(["check", "nosuch", str(tmp_path), "debian-12"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        "nosuch: no such scenario (`qgasim scenarios` lists them)",
        f"qgasim check: {tmp_path}: nothing to check (no .yaml or .yml file is in it)",
    ]


def test_check_says_why_a_file_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    (tmp_path / "b.yaml").symlink_to("nowhere")
    (tmp_path / "c.yaml").mkdir()
    (tmp_path / "d.yaml").write_bytes(b"qgasim: 1\n\xff")
    (tmp_path / "e.yaml").write_text("qgasim: 1\n")
    (tmp_path / "f.yaml").symlink_to("e.yaml/f.yaml")
    os.mkfifo(tmp_path / "g.yaml")
    assert run(["check", str(tmp_path), f"{tmp_path}/{'n' * 300}.yaml"]) == 1
    assert capfd.readouterr().err.splitlines() == [
        f"{tmp_path}/a.yaml: Too many levels of symbolic links",
        f"{tmp_path}/b.yaml: a link to 'nowhere', which is not there",
        f"{tmp_path}/c.yaml: a directory (expected a file in it, or the name of a scenario)",
        f"{tmp_path}/d.yaml:2:1: not UTF-8 (save it so)",
        f"{tmp_path}/f.yaml: a link to 'e.yaml/f.yaml', which is not there",
        f"{tmp_path}/g.yaml: not a file",
        f"{tmp_path}/{'n' * 300}.yaml: File name too long",
    ]


def test_what_is_shown_can_be_checked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["show", "debian-12"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith("qgasim: 1\ndescription: A Debian 12 server")
    monkeypatch.setattr("sys.stdin", io.StringIO(shown))
    assert run(["check", "-"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(shown))
    assert run(["show", "-"]) == 0
    assert capfd.readouterr().out == shown


def test_init_writes_a_scenario_that_can_be_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    assert run(["init", str(path)]) == 0
    name = f"{sys.executable} -m qgasim"
    assert capfd.readouterr().out == f"wrote {path}; try: {name} --scenario {path}\n"
    assert run(["check", str(path)]) == 0
    # What it offers in comments is right, too.
    (tmp_path / "app").mkdir()
    offered = re.sub(
        r"(?m)^( *)# (?=(replies:|faults:|timeline:|  |block_rpcs|/|- \{path))",
        r"\1",
        path.read_text(),
    )
    path.write_text(offered)
    offer = load(path)
    assert (len(offer.replies), len(offer.faults), len(offer.timeline)) == (2, 3, 2)
    assert run(["check", str(path)]) == 0
    first = offered.splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert schema == str(ROOT / "qgasim" / "scenario.schema.json")
    assert run(["init", str(path)]) == 2
    assert capfd.readouterr().err == f"qgasim: {path}: File exists\n"


def test_check_warns_of_commands_that_no_release_has(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("qgasim: 1\nagent:\n  block_rpcs: [guest-ping, guest-exce]\n")
    assert run(["check", str(path)]) == 0
    assert only_line(capfd.readouterr().err) == (
        f"{path}:3:28: agent.block_rpcs[1]: warning: no release has the command 'guest-exce' "
        "(did you mean 'guest-exec'?)"
    )


WRONG = "qgasim: 1\nagent: {block_rpcs: [guest-exce]}\n"


def test_check_writes_annotations_for_github(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b.yaml").write_text("sed: 1\n")
    Path("c.yaml").write_text(WRONG)
    assert run(["check", "--format=github", "a,b.yaml", "c.yaml", "nosuch"]) == 1
    # Escaped as "Workflow commands for GitHub Actions" and @actions/core say.
    assert capfd.readouterr() == (
        (
            "::error file=a%2Cb.yaml,line=1,col=1::unknown key 'sed' (did you mean 'seed'?)\n"
            "::warning file=c.yaml,line=2,col=22::agent.block_rpcs[0]: no release has the command "
            "'guest-exce' (did you mean 'guest-exec'?)\n"
            "::error file=nosuch::no such scenario (`qgasim scenarios` lists them)\n"
        ),
        "",
    )
    assert run(["check", "--format=github", "debian-12"]) == 0
    assert capfd.readouterr() == ("", "")


def test_check_writes_sarif_for_code_scanning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(WRONG)
    assert run(["check", "--format=sarif", "c.yaml", "nosuch"]) == 1
    log = json.loads(capfd.readouterr().out)
    assert log["version"] == "2.1.0"
    (ran,) = log["runs"]
    assert ran["tool"]["driver"]["name"] == "qgasim"
    told = [
        (result["level"], result["locations"][0]["physicalLocation"]) for result in ran["results"]
    ]
    assert told == [
        (
            "warning",
            {
                "artifactLocation": {"uri": "c.yaml"},
                "region": {"startLine": 2, "startColumn": 22},
            },
        ),
        (
            "error",
            {"artifactLocation": {"uri": "nosuch"}, "region": {"startLine": 1, "startColumn": 1}},
        ),
    ]


# -- call ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_a_call_prints_what_is_returned(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, answer = CALLS[name]
    with serving(tmp_path) as thread:
        assert run(["call", thread.path, *words]) == 0
    assert capfd.readouterr() == (answer, "")


@pytest.mark.parametrize("name", CALLS_REFUSED)
def test_a_call_that_is_refused_has_status_1(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, answer = CALLS_REFUSED[name]
    with serving(tmp_path) as thread:
        assert run(["call", thread.path, *words]) == 1
    assert capfd.readouterr() == ("", answer)


def test_a_call_need_not_wait_for_a_reply(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as thread:
        assert run(["call", "--no-reply", thread.path, "guest-shutdown", "mode=halt"]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_call_without_an_agent_has_status_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    assert run(["call", str(path), "guest-ping"]) == 1
    assert capfd.readouterr() == ("", f"qgasim call: {path}: No such file or directory\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(path))
    assert run(["call", str(path), "guest-ping"]) == 1
    assert capfd.readouterr() == ("", f"qgasim call: {path}: Connection refused\n")


def test_a_call_by_a_path_that_is_too_long_has_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    path = "/" + "s" * 200
    assert run(["call", path, "guest-ping"]) == 1
    assert capfd.readouterr() == ("", f"qgasim call: {path}: AF_UNIX path too long\n")


def test_a_call_gives_up_after_the_time_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(str(path))
        mute.listen()
        assert run(["call", "--timeout=0.05", str(path), "guest-ping"]) == 1
    unread = "it has not read the request (is another client connected?)"
    assert capfd.readouterr() == ("", f"qgasim call: {path}: no answer within 0.05 s: {unread}\n")


def test_a_call_that_is_read_and_not_answered_gives_up_without_a_guess(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def read() -> None:
            with server.accept()[0] as sock:
                while sock.recv(1000):
                    pass

        reader = threading.Thread(target=read)
        reader.start()
        assert run(["call", "--timeout=0.05", str(path), "guest-ping"]) == 1
        reader.join()
    assert capfd.readouterr() == ("", f"qgasim call: {path}: no answer within 0.05 s\n")
