"""Unmodified libvirt with domains whose emulator is qgasim-qemu: what virsh says.

The expected texts are those of virsh 9.0 of Debian 12; what they show of the guest is the scenario's.
"""

import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qgasim.serving.listen import make_directory
from qgasim.testing.libvirt import Libvirt, LibvirtDomain, describe_domain

pytestmark = pytest.mark.slow

DISK = """<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/>
<target dev='vda' bus='virtio'/><serial>ROOT1</serial></disk>
<console type='pty'/>
<memballoon model='virtio'><stats period='5'/></memballoon>"""
#: It boots soon.
GUEST = "qgasim: 1\nextends: debian-12\nguest: {power: {boot_time: 100ms, shutdown_time: 100ms}}\n"
NIC = "<interface type='user'><mac address='52:54:00:aa:bb:cc'/><model type='virtio'/></interface>"
DIMM = "<memory model='dimm'><target><size unit='MiB'>256</size><node>0</node></target></memory>"


class Virsh:
    """One ``virsh`` for many commands: each as a process of its own takes longer than what it does."""

    def __init__(self, libvirt: Libvirt) -> None:
        self._process = libvirt.open_virsh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with self._process:
            self._process.wait(30)

    def run(self, words: list[str]) -> tuple[int, str]:
        """Run a command; return its status, and what it printed."""
        process = self._process
        assert process.stdin is not None
        process.stdin.write(f"{shlex.join(words)}\necho --err THE END\necho THE END\n")
        process.stdin.flush()
        # It prints what it is told behind its prompt.
        printed = _read(process.stdout, "THE END")
        begin = next(n for n, line in enumerate(printed) if line == f"virsh # {shlex.join(words)}")
        end = printed.index("virsh # echo --err THE END")
        wrong = _read(process.stderr, "error: THE END")
        return (1, "\n".join(wrong)) if wrong else (0, "\n".join(printed[begin + 1 : end]))


def _read(file: Any, last: str) -> list[str]:
    lines: list[str] = []
    while (line := file.readline()) != f"{last}\n":
        assert line, lines
        lines.append(line.rstrip("\n"))
    return lines


@pytest.fixture
def directory(qgasim_libvirtd: Libvirt) -> Iterator[str]:
    """The path of a folder, short enough to be in what virsh prints."""
    directory = make_directory("qgasim-")
    files = {"nic.xml": NIC, "dimm.xml": DIMM, "guest.yaml": GUEST}
    for file, size in (("root.img", 100), ("new.img", 10)):
        with open(f"{directory}/{file}", "wb") as image:
            image.truncate(size << 20)
    for file, text in files.items():
        Path(directory, file).write_text(text)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def make(libvirt: Libvirt, directory: str, name: str, release: str) -> LibvirtDomain:
    """Return a domain in which everything can be plugged."""
    text = describe_domain(
        name,
        {"QGASIM_SCENARIO": f"{directory}/guest.yaml", "QGASIM_QEMU": release},
        DISK.format(image=f"{directory}/root.img"),
    )
    text = text.replace("<vcpu>2<", "<vcpu current='2'>4<").replace(
        "  <memory unit='MiB'>512</memory>\n",
        "<maxMemory slots='4' unit='MiB'>4096</maxMemory><memory unit='MiB'>512</memory>"
        "<cpu><numa><cell id='0' cpus='0-3' memory='512' unit='MiB'/></numa></cpu>",
    )
    return LibvirtDomain(libvirt, name, text)


#: A command of virsh (D is the domain, DIR the directory), its status, and what it prints (a pattern).
#: "await" runs the command until it prints that.
Row = tuple[str, int, str]
AGENT_FIRST: list[Row] = [
    ('await qemu-agent-command D {"execute":"guest-ping"}', 0, r'\{"return":\{\}\}'),
]
QUERIES: list[Row] = [
    ("domstate D --reason", 0, r"running \(booted\)"),
    ("dominfo D", 0, r"(?s).*State: +running\nCPU\(s\): +2\n.*Max memory: +524288 KiB\nUsed memory: +524288 KiB\n.*"),
    ("domuuid D", 0, r"[0-9a-f-]{36}"),
    ("domid D", 0, r"\d+"),
    ("domcontrol D", 0, "ok"),
    ("domblklist D", 0, r"(?s).* vda +/.*root.img"),
    ("domblkinfo D vda", 0, r"(?s)Capacity: +\d+\n.*Physical: +104857600"),
    ("domblkstat D vda", 0, r"(?s)vda rd_req 0\nvda rd_bytes 0\n.*"),
    ("domiflist D", 0, r"(?s).* user +- +virtio +52:54:00:11:22:33"),
    ("domif-getlink D 52:54:00:11:22:33", 0, r".* (default|up)"),
    ("vcpucount D", 0, r"maximum +config +4\nmaximum +live +4\ncurrent +config +2\ncurrent +live +2"),
    ("dommemstat D", 0, r"(?s)actual 524288\n.*"),
    ("domstats D --state --balloon --vcpu", 0, r"(?s)Domain: 'D'\n +state.state=1\n.*balloon.current=524288\n.*vcpu.current=2\n.*"),
    ("iothreadinfo D", 0, "No IOThreads found for the domain"),
    ("ttyconsole D", 0, r"/dev/pts/\d+"),
    ("domjobinfo D", 0, r"Job type: +None *"),
    ("qemu-monitor-command D --hmp info status", 0, "VM status: running"),
    ('qemu-monitor-command D {"execute":"query-name"}', 0, r'\{"return":\{"name":"D"\},"id":"libvirt-\d+"\}'),
    ('qemu-monitor-command D {"execute":"query-version"}', 0, r'.*"major":MAJOR.*'),
    ('qemu-monitor-command D {"execute":"nope"}', 0, r'.*"class":"CommandNotFound","desc":"The command nope has not been found".*'),
]  # fmt: skip
AGENT: list[Row] = [
    ("guestinfo D --os --hostname", 0, r"(?s)os.id +: debian\n.*hostname +: debian"),
    ("guestinfo D --disk", 0, r"(?s)disk.count.*"),
    ("domhostname D --source agent", 0, "debian"),
    ("domifaddr D --source agent", 0, r"(?s).* enp1s0 +52:54:00:11:22:33 +ipv4 +192.0.2.17/24.*"),
    ("domfsinfo D", 0, r"(?s).* / +vda1 +ext4 +vda\n.*"),
    ("domfsfreeze D", 0, r"Froze 1 filesystem\(s\)"),
    ("domfsthaw D", 0, r"Thawed 1 filesystem\(s\)"),
    ("domfsfreeze D /nowhere", 0, r"Froze 0 filesystem\(s\)"),
    ("domfstrim D", 0, ""),
    ("domtime D", 0, r"Time: \d+"),
    ("domtime D --time 1800000000", 0, ""),
    ("domtime D", 0, r"Time: 180000000\d"),
    ("domtime D --sync", 0, ""),
    ("set-user-password D root secret", 0, "Password set successfully for root in D"),
    ("set-user-password D nosuch secret", 1, r"(?s)error: .*failed to set user password"),
    ("guestvcpus D", 0, r"vcpus +: 0-1\nonline +: 0-1\nofflinable +: 1"),
    ("guestvcpus D --cpulist 1 --disable", 0, ""),
    ("guestvcpus D", 0, r"vcpus +: 0-1\nonline +: 0\nofflinable +: 1"),
    ("guestvcpus D --cpulist 1 --enable", 0, ""),
    ("setvcpus D 1 --guest", 0, ""),
    ("setvcpus D 2 --guest", 0, ""),
    ("set-user-sshkeys D root --reset", 0, ""),
    ("get-user-sshkeys D root", 0, ""),
    ('qemu-agent-command D {"execute":"nope"}', 1, r"error: .*The command nope has not been found"),
    ("guest-agent-timeout D --timeout 5", 0, ""),
]  # fmt: skip
POWER: list[Row] = [
    ("suspend D", 0, "Domain 'D' suspended"),
    ("domstate D --reason", 0, r"paused \(user\)"),
    ('qemu-agent-command D {"execute":"guest-ping"}', 1, r"error: .*domain is not running"),
    ("resume D", 0, "Domain 'D' resumed"),
    ("domstate D --reason", 0, r"running \(unpaused\)"),
    ("dompmsuspend D mem", 0, "Domain 'D' successfully suspended"),
    ("await domstate D --reason", 0, r"pmsuspended .*"),
    ("dompmwakeup D", 0, "Domain 'D' successfully woken up"),
    ("domstate D --reason", 0, r"running \(event wakeup\)"),
    *AGENT_FIRST,
    ("reset D", 0, "Domain 'D' was reset"),
    ("domstate D", 0, "running"),
    *AGENT_FIRST,
    ("reboot D --mode agent", 0, "Domain 'D' is being rebooted"),
    *AGENT_FIRST,
    ("reboot D --mode acpi", 0, "Domain 'D' is being rebooted"),
    ("inject-nmi D", 0, ""),
    ("send-key D KEY_A", 0, ""),
]  # fmt: skip
PLUGGING: list[Row] = [
    *AGENT_FIRST,
    ("setvcpus D 3 --live", 0, ""),
    ("vcpucount D --live --active", 0, "3"),
    ("guestvcpus D", 0, r"vcpus +: 0-2\nonline +: 0-1\nofflinable +: 1-2"),
    ("setmem D 256M --live", 0, ""),
    ("await dommemstat D", 0, r"(?s)actual 262144\n.*"),
    ("dommemstat D --period 2 --live", 0, ""),
    ("attach-device D DIR/nic.xml --live", 0, "Device attached successfully"),
    ("domiflist D", 0, r"(?s).*52:54:00:aa:bb:cc"),
    ("await domifaddr D --source agent", 0, r"(?s).* eth0 +52:54:00:aa:bb:cc +N/A.*"),
    ("domif-setlink D 52:54:00:aa:bb:cc down", 0, "Device updated successfully"),
    ("domif-getlink D 52:54:00:aa:bb:cc", 0, "52:54:00:aa:bb:cc down"),
    ("detach-device D DIR/nic.xml --live", 0, "Device detached successfully"),
    ("attach-disk D DIR/new.img vdb --live --serial NEW", 0, "Disk attached successfully"),
    ("domblklist D", 0, r"(?s).* vdb +/.*new.img"),
    ("detach-disk D vdb --live", 0, "Disk detached successfully"),
    ("attach-device D DIR/dimm.xml --live", 0, "Device attached successfully"),
    ("dominfo D", 0, r"(?s).*Max memory: +786432 KiB.*"),
    ("detach-device D DIR/dimm.xml --live", 0, "Device detached successfully"),
    ("blockresize D vda 200M", 0, "Block device 'vda' is resized"),
    ("domblkinfo D vda", 0, r"(?s)Capacity: +209715200\n.*"),
    ("iothreadadd D 1", 0, ""),
    ("iothreadinfo D", 0, r"(?s).* 1 +[\d,-]+"),
    ("iothreaddel D 1", 0, ""),
]  # fmt: skip
SAVED: list[Row] = [
    ("save D DIR/saved", 0, "Domain 'D' saved to .*/saved"),
    ("domstate D --reason", 0, r"shut off \(saved\)"),
    ("restore DIR/saved", 0, "Domain restored from .*/saved"),
    ("domstate D --reason", 0, r"running \((restored|migrated)\)"),
    *AGENT_FIRST,
]
MANAGED: list[Row] = [
    ("managedsave D", 0, "\nDomain 'D' state saved by libvirt"),
    ("start D", 0, "Domain 'D' started"),
    *AGENT_FIRST,
    ("shutdown D --mode acpi", 0, "Domain 'D' is being shutdown"),
    ("await domstate D --reason", 0, r"shut off \(shutdown\)"),
    ("start D", 0, "Domain 'D' started"),
    ("destroy D", 0, "Domain 'D' destroyed"),
    ("domstate D --reason", 0, r"shut off \(destroyed\)"),
    ("start D", 0, "Domain 'D' started"),
    *AGENT_FIRST,
]
ENDS: list[Row] = [
    ("shutdown D --mode agent", 0, "Domain 'D' is being shutdown"),
    ("await domstate D --reason", 0, r"shut off \(shutdown\)"),
]
#: Starting a domain takes longest: once more with another release of QEMU, what may differ in it.
SHORT = [*AGENT_FIRST, *QUERIES, *AGENT, *POWER, *PLUGGING, *SAVED, *ENDS]
ALL = [*SHORT[: -len(ENDS)], *MANAGED, *ENDS]
#: How often a command is repeated that waits, and after how many seconds.
PATIENCE = 1000
PAUSE = 0.01


def split(command: str) -> list[str]:
    """Return the words of a command; that of the monitor for people is one."""
    words = command.split(" ")
    if words[0] == "qemu-monitor-command" and words[2] == "--hmp":
        words = [*words[:3], " ".join(words[3:])]
    return words


def is_as_expected(found: tuple[int, str], status: int, text: str) -> bool:
    return found[0] == status and re.fullmatch(text.strip("\n"), found[1].strip("\n")) is not None


def check(virsh: Virsh, rows: list[Row], names: dict[str, str]) -> list[str]:
    """Run each command; return what was not as expected. *names*: what stands for words of the rows."""
    words = re.compile("|".join(rf"\b{word}\b" for word in names))
    wrong: list[str] = []
    for command, status, pattern in rows:
        told = words.sub(lambda found: names[found[0]], command)
        text = words.sub(lambda found: names[found[0]], pattern)
        plain = split(told.removeprefix("await "))
        found = virsh.run(plain)
        for _ in range(PATIENCE if told.startswith("await ") else 0):
            if is_as_expected(found, status, text):
                break
            time.sleep(PAUSE)
            found = virsh.run(plain)
        if not is_as_expected(found, status, text):
            wrong.append(f"virsh {shlex.join(plain)}: {found}, expected {status}, {text!r}")
    return wrong


#: What `virsh event` says meanwhile, among other things.
EVENTS: list[str] = [
    "'lifecycle' for domain 'D': Started Booted",
    "'lifecycle' for domain 'D': Suspended Paused",
    "'lifecycle' for domain 'D': Resumed Unpaused",
    "'agent-lifecycle' for domain 'D': state: 'connected' reason: 'channel event'",
    "'pm-suspend' for domain 'D'",
    "'lifecycle' for domain 'D': PMSuspended Memory",
    "'pm-wakeup' for domain 'D'",
    "'reboot' for domain 'D'",
    "'rtc-change' for domain 'D': ",
    "'balloon-change' for domain 'D': 262144KiB",
    "'device-added' for domain 'D': net1",
    "'device-removed' for domain 'D': net1",
    "'lifecycle' for domain 'D': Stopped Saved",
    "'lifecycle' for domain 'D': Shutdown Finished after guest request",
    "'lifecycle' for domain 'D': Stopped Shutdown",
]


@pytest.mark.parametrize(("release", "rows"), [("7.2", ALL), ("10.0", SHORT)], ids=["7.2", "10.0"])
def test_virsh(qgasim_libvirtd: Libvirt, directory: str, release: str, rows: list[Row]) -> None:
    assert len(rows) >= 60
    name = f"vm{release.replace('.', '')}"
    names = {"D": name, "DIR": directory, "MAJOR": release.split(".", maxsplit=1)[0]}
    with qgasim_libvirtd.open_virsh("event", "--all", "--loop") as listening:
        # It listens when it has told of something.
        domain = make(qgasim_libvirtd, directory, name, release)
        try:
            with Virsh(qgasim_libvirtd) as virsh:
                wrong = check(virsh, rows, names)
        finally:
            domain.close()
            listening.terminate()
        assert listening.stdout is not None
        told = listening.stdout.read()
    missing = [event for event in EVENTS if re.sub(r"\bD\b", name, event) not in told]
    assert not wrong, "\n".join(wrong)
    assert not missing, told


def test_a_domain_migrates_to_another_libvirtd(qgasim_libvirtd: Libvirt, directory: str) -> None:
    here, there_directory = qgasim_libvirtd, make_directory("qgasim-")
    try:
        with Libvirt(there_directory) as there:
            text = describe_domain("moving", {"QGASIM_SCENARIO": f"{directory}/guest.yaml"})
            domain = LibvirtDomain(here, "moving", text)
            # Each has its own emulator.
            own = domain.virsh("dumpxml", "--migratable")
            Path(directory, "there.xml").write_text(own.replace(here.emulator, there.emulator))
            places = ["--desturi", there.uri, "--migrateuri", f"unix://{directory}/moving.sock"]
            domain.virsh("migrate", "--live", "--xml", f"{directory}/there.xml", *places)
            assert domain.virsh("domstate", "--reason") == "shut off (migrated)"
            with Virsh(there) as virsh:
                names = {"D": "moving"}
                wrong = check(
                    virsh,
                    [("domstate D --reason", 0, r"running \(migrated\)"), *AGENT_FIRST],
                    names,
                )
            assert not wrong, "\n".join(wrong)
            assert not Path(directory, "moving.sock").exists()
            domain.close()
    finally:
        shutil.rmtree(there_directory, ignore_errors=True)


def test_what_cannot_be_is_told_by_libvirt(qgasim_libvirtd: Libvirt) -> None:
    text = describe_domain("bad", {"QGASIM_SCENARIO": "nosuch"})
    with pytest.raises(RuntimeError, match=r"qgasim-qemu: .*nosuch"):
        LibvirtDomain(qgasim_libvirtd, "bad", text)
    assert "Traceback" not in qgasim_libvirtd.log("bad")
    qgasim_libvirtd.virsh("undefine", "bad")


@pytest.mark.qgasim(scenario="debian-12", agent="10.0", guest={"hostname": "behind-libvirt"})
def test_the_fixture_lends_a_domain_with_the_tests_guest(qga_libvirt: LibvirtDomain) -> None:
    assert qga_libvirt.virsh("domstate") == "running"
    assert qga_libvirt.name in qga_libvirt.libvirt.virsh("list", "--name").stdout
    with pytest.raises(RuntimeError, match="unknown command"):
        qga_libvirt.virsh("nosuchcommand")
