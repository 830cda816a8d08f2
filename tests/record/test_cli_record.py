"""`qgasim record` as it is typed."""

import contextlib
import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qgasim.errors import ClientError
from qgasim.record.virsh import ask_by_virsh
from qgasim.scenario import load, loads
from qgasim.serving.threads import ServerThread
from qgasim.testing.libvirt import Libvirt, LibvirtDomain, find_missing, lend_domain
from tests.command_line import run
from tests.test_compare import Relay, be_silent, hang_up
from tests.test_compare import serving as serve_fake

Capture = pytest.CaptureFixture[str]
PASTED = '{"guest-get-host-name": {"host-name": "xylo.corp"}}'


@pytest.fixture
def pasted(tmp_path: Path) -> str:
    path = tmp_path / "replies.json"
    path.write_text(PASTED)
    return str(path)


def test_a_scenario_is_written_and_served_and_recorded_again(
    tmp_path: Path, capsys: Capture
) -> None:
    one, two = str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")
    with ServerThread(load("debian-12").build(), str(tmp_path / "s")) as server:
        assert run(["record", server.path, "-o", one, "--show-redactions"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "24 of 24 replies come from the model"
    assert "macs       52:54:00:8a:1f:6e" in said.err
    with ServerThread(load(one).build(), str(tmp_path / "s")) as server:
        assert run(["record", server.path, "-o", two, "--keep", "all"]) == 0
    # Only what changes by itself: the counters of an interface do not, without growth.
    assert load(two).guest.nics == load(one).guest.nics
    assert load(two).guest.mounts == load(one).guest.mounts


def test_a_file_that_is_there_is_left(pasted: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(["record", "--from", pasted, "-o", pasted]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"qgasim: {pasted}: File exists"
    assert Path(pasted).read_text() == PASTED


def test_without_a_file_the_scenario_is_printed_and_all_else_is_said_elsewhere(
    pasted: str, capsys: Capture
) -> None:
    assert run(["record", "--from", pasted]) == 0
    said = capsys.readouterr()
    assert loads(said.out).guest.hostname
    assert "xylo" not in said.out
    assert said.err.splitlines() == [
        "qgasim record: note: guest-info is not among the replies: release 7.2 is assumed (--agent names another)",
        "qgasim record: 1 of 1 replies come from the model",
    ]


def test_kinds_can_be_kept(pasted: str, capsys: Capture) -> None:
    assert run(["record", "--from", pasted, "--keep", "macs,hosts", "--agent", "9.0"]) == 0
    scenario = loads(capsys.readouterr().out)
    assert scenario.guest.hostname == "xylo.corp"
    assert scenario.agent.release == "9.0"


REFUSED = {
    "nothing to ask": ([], "expected one of ADDRESS, --virsh DOMAIN and --from FILE"),
    "two to ask": (
        ["s", "--virsh", "x"],
        "expected one of ADDRESS, --virsh DOMAIN and --from FILE",
    ),
    "no kind": (
        ["s", "--keep", "mac"],
        "argument --keep: no such kind: 'mac' (did you mean 'macs'?)",
    ),
    "no release": (["s", "--agent", "1.0"], "--agent: no such release: '1.0'"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: Capture
) -> None:
    assert run(["record", *arguments]) == 2
    assert capsys.readouterr().err == f"qgasim record: {said} (try qgasim record --help)\n"


def test_what_is_cut_is_left_out_and_windows_encoding_is_read(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "report.txt"
    path.write_text('{"return": {"host-name": "db7"}}\nguest-get-users\n[{"user":', "utf-16")
    assert run(["record", "--from", str(path), "-o", str(tmp_path / "vm.yaml")]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        f"qgasim record: {path}:3: not JSON, or cut short: Expecting value; the rest is recorded"
    )
    assert said.out.splitlines()[-1] == "1 of 1 replies come from the model"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_standard_input_is_read_as_a_file_is(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    given = io.TextIOWrapper(io.BytesIO(PASTED.encode(encoding)))
    monkeypatch.setattr("sys.stdin", given)
    assert run(["record", "--from", "-", "--keep", "hosts"]) == 0
    assert loads(capsys.readouterr().out).guest.hostname == "xylo.corp"


def test_a_missing_file_is_said(capsys: Capture) -> None:
    assert run(["record", "--from", "/nonexistent/x"]) == 2
    assert capsys.readouterr().err == "qgasim: /nonexistent/x: No such file or directory\n"


def test_a_frozen_guest_is_refused(tmp_path: Path, capsys: Capture) -> None:
    scenario = load("debian-12")
    scenario.agent.is_frozen = True
    with ServerThread(scenario.build(), str(tmp_path / "s")) as server:
        assert run(["record", server.path]) == 2
    assert "the guest is frozen" in capsys.readouterr().err


# -- no agent, or no longer one --------------------------------------------------------------------

NO_AGENTS = {
    "silent": (be_silent, "no answer within 0.2 s"),
    "gone": (hang_up, "the agent hung up"),
}
HINT = "; is this an agent's socket, without another client?"


@pytest.mark.parametrize(("serve", "text"), NO_AGENTS.values(), ids=NO_AGENTS)
def test_who_does_not_answer_is_given_up(
    serve: Callable[[socket.socket], None], text: str, tmp_path: Path, capsys: Capture
) -> None:
    with serve_fake(tmp_path, serve) as path:
        assert run(["record", path, "--timeout", "0.2"]) == 2
    assert capsys.readouterr().err == f"qgasim: {path}: {text}{HINT}\n"


def cut_off(client: socket.socket) -> None:
    client.sendall(b'{"return": [{"online": tr')


def talk_nonsense(client: socket.socket) -> None:
    mark = client.recv(0) or b""
    assert mark == b""
    client.sendall(b"nonsense\n")


@pytest.mark.parametrize("then", [cut_off, talk_nonsense])
def test_what_was_answered_before_the_end_is_recorded(
    then: Callable[[socket.socket], None], tmp_path: Path, capsys: Capture
) -> None:
    out = str(tmp_path / "vm.yaml")
    with serve_fake(tmp_path, Relay(b'guest-get-vcpus"', then)) as path:
        assert run(["record", path, "-o", out]) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert lines == [
        f"qgasim record: {path}: the agent hung up (asked for guest-get-vcpus); what it answered before is recorded"
    ]
    assert "4 of 4 replies come from the model" in said.out
    assert load(out).agent.release == "7.2.22"


def test_an_agent_that_is_not_as_its_release_is_recorded_all_the_same(
    tmp_path: Path, capsys: Capture
) -> None:
    with ServerThread(load("mac-guest-agent").build(), str(tmp_path / "s")) as server:
        assert run(["record", server.path, "-o", str(tmp_path / "vm.yaml")]) == 0
    said = capsys.readouterr()
    assert "release '2.3.1' is unknown to qgasim" in said.err
    assert " from stubs" in said.out


# -- libvirt ---------------------------------------------------------------------------------------


def test_without_virsh_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run(["record", "--virsh", "vm1"]) == 2
    assert capsys.readouterr().err == "qgasim: virsh is not installed\n"


def test_no_option_of_virsh_is_a_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_virsh(monkeypatch, tmp_path, "")
    with pytest.raises(ClientError, match="not the name of a domain"):
        ask_by_virsh("--help", 1)


def make_virsh(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    """Make a program that writes what virsh writes."""
    (directory / "virsh").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/bin:/usr/bin")


#: What libvirt 9.0 wrote (src/qemu/qemu_agent.c; tools/vsh.c writes the last error first).
UNANSWERED = {
    "no domain": (
        "echo \"error: failed to get domain 'vm1'\" >&2; exit 1",
        "vm1: failed to get domain 'vm1'",
    ),
    "no agent": (
        "echo 'error: Guest agent is not responding: QEMU guest agent is not connected' >&2; exit 1",
        "vm1: Guest agent is not responding: QEMU guest agent is not connected",
    ),
    "no reply": ("echo nonsense", "vm1: not a reply: b'nonsense\\n'"),
}


@pytest.mark.parametrize(("script", "said"), UNANSWERED.values(), ids=UNANSWERED)
def test_what_virsh_cannot_do_is_said(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    make_virsh(monkeypatch, tmp_path, script)
    assert run(["record", "--virsh", "vm1"]) == 2
    assert capsys.readouterr().err == f"qgasim: {said}\n"


def test_an_error_of_the_agent_comes_without_its_class(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        "error: internal error: unable to execute QEMU agent command 'guest-x': no such thing: it"
    )
    make_virsh(monkeypatch, tmp_path, f'echo "{text}" >&2; exit 1')
    assert ask_by_virsh("vm1", 1)("guest-x", {}) == {"error": {"desc": "no such thing: it"}}


@contextlib.contextmanager
def libvirt() -> Iterator[Libvirt]:
    # The paths of its sockets must be short.
    with tempfile.TemporaryDirectory(prefix="lv") as directory:
        os.chmod(directory, 0o777)
        with Libvirt(directory) as daemon:
            yield daemon


def wait_for_agent(domain: LibvirtDomain) -> None:
    """Ask until libvirt has seen the agent's port opened."""
    for _ in range(200):
        with contextlib.suppress(RuntimeError):
            domain.virsh("qemu-agent-command", '{"execute":"guest-ping"}')
            return
    raise TimeoutError


@pytest.mark.slow
@pytest.mark.skipif(find_missing() is not None, reason=str(find_missing()))
def test_a_domain_of_libvirt_is_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    with (
        libvirt() as daemon,
        lend_domain(daemon, "qgasim: 1\nextends: ubuntu-24.04\n", None) as domain,
    ):
        wait_for_agent(domain)
        monkeypatch.setenv("LIBVIRT_DEFAULT_URI", daemon.uri)
        for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(name, str(tmp_path))
        out = str(tmp_path / "vm.yaml")
        assert run(["record", "--virsh", domain.name, "-o", out]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("24 of 24 replies come from the model")
    )
    assert load(out).agent.release == "8.2.2"
    assert os.path.getsize(out) > 1000
