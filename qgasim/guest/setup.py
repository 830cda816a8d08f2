"""Furnish a guest: the files, programs and devices that its settings imply."""

import base64
import errno
from typing import Final

from msgspec import structs

from qgasim.errors import SettingsError
from qgasim.guest.files.files import Files
from qgasim.guest.files.kernel_files import (
    CREATE_ERRORS,
    ProcessCounts,
    escape_path,
    mount_kernel_files,
)
from qgasim.guest.files.nodes import Regular, os_error
from qgasim.guest.hardware.devices import find_block
from qgasim.guest.machine import Machine
from qgasim.guest.processes.scripted import SCRIPTED
from qgasim.guest.processes.userland import Userland, install, program_image
from qgasim.guest.settings import FileSettings, ProgramSettings
from qgasim.guest.system.accounts import Account, PasswdEntry, make_entries
from qgasim.guest.system.clock import find_zone
from qgasim.guest.system.os_release import write_os_release
from qgasim.guest.system.windows import inner_path
from qgasim.guest.units import DAY

__all__ = ["change_programs", "change_users", "furnish", "make_file"]

_DIRECTORIES: Final = (
    "/dev", "/etc", "/home", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp",
    "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share/zoneinfo", "/var/log", "/var/tmp",
)  # fmt: skip
_DEVICES: Final = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0), ("console", 5, 1),
)  # fmt: skip
_GROUPS: Final = {"root": 0, "daemon": 1, "adm": 4, "tty": 5, "sudo": 27, "shadow": 42}


class _Part:
    """Which part of the settings is being carried out."""

    def __init__(self) -> None:
        self.path = ""


def furnish(machine: Machine, userland: Userland, counts: ProcessCounts) -> None:
    """Mount the file systems and make all files of a new machine.

    Raises:
        SettingsError: they cannot be made as the settings say.
    """
    part = _Part()
    try:
        if machine.is_windows:
            _furnish_windows(machine, part)
        else:
            _furnish_posix(machine, userland, counts, part)
        _make_files(machine, part)
    except OSError as error:
        text = f"{error.strerror}: '{error.filename}'" if error.filename else str(error.strerror)
        raise SettingsError(part.path, text) from None
    except ValueError as error:
        raise SettingsError(part.path, str(error)) from None


def _furnish_posix(
    machine: Machine, userland: Userland, counts: ProcessCounts, part: _Part
) -> None:
    files = machine.files
    _make_directories(files, ["/"])
    for link in ("bin", "sbin", "lib"):
        files.symlink(f"usr/{link}", f"/{link}")
    mount_kernel_files(machine, counts)
    for index, mount in enumerate(machine.mounts[1:], 1):
        part.path = f"mounts[{index}]"
        machine.mount(mount)
    # What was made before may be covered now. (To look into /proc or /sys would make their files.)
    _make_directories(files, [mount.path for mount in machine.mounts[1:]])
    part.path = "disks"
    _make_devices(machine)
    part.path = "users"
    _make_etc(machine)
    part.path = "os.userland"
    install(userland, files)
    files.write("/usr/sbin/qemu-ga", program_image("qemu-ga"), 0o755)


def _make_directories(files: Files, tops: list[str]) -> None:
    """Make the usual directories that are one of *tops*, or in it, and missing."""
    inside = tuple(top.rstrip("/") + "/" for top in tops)
    for path in _DIRECTORIES:
        if f"{path}/".startswith(inside) and not files.exists(path):
            files.makedirs(path)
            if path in ("/tmp", "/var/tmp"):
                files.chmod(path, 0o1777)


def _make_files(machine: Machine, part: _Part) -> None:
    """Make the files that the scenario names, and the programs whose results it gives."""
    files = machine.files
    for path, settings in machine.settings.files.items():
        part.path = f"files.{path}"
        make_file(machine, path, settings)
    for index, program in enumerate(machine.settings.programs):
        part.path = f"programs[{index}].path"
        _make_program(machine, program.path)
    for mounted in files.mounts:
        mounted.volume.create_error = CREATE_ERRORS.get(mounted.volume.kind, 0)


def _make_program(machine: Machine, path: str) -> None:
    """Make the file of a program whose results the scenario gives."""
    files, path = machine.files, machine.inner_path(path)
    files.make_parents(path)
    files.remove_if_there(path)
    files.write(path, program_image(SCRIPTED), 0o755)


#: Where Windows has files of its own, whatever is installed.
_WINDOWS_DIRECTORIES: Final = (
    "/C:/ProgramData", "/C:/Program Files/Qemu-ga", "/C:/Users/Public", "/C:/Windows/System32",
    "/C:/Windows/Temp",
)  # fmt: skip


def _furnish_windows(machine: Machine, part: _Part) -> None:
    """Mount the volumes of a Windows machine, and make its users' directories."""
    files = machine.files
    part.path = "mounts"
    for path in ("/dev", "/etc", "/volumes"):
        files.makedirs(path)
    for mount in machine.mounts[1:]:
        machine.mount(mount)
    files.add_device("/dev/null", 1, 3)
    _make_zone(machine)
    for path in _WINDOWS_DIRECTORIES:
        files.makedirs(path)
    program = "/C:/Program Files/Qemu-ga/qemu-ga.exe"
    files.write(program, program_image("qemu-ga"), 0o755)
    for name, account in machine.settings.users.items():
        part.path = f"users.{name}"
        _make_windows_home(files, name, account)


def _make_windows_home(files: Files, name: str, account: Account) -> None:
    home = inner_path(account.home or f"C:\\Users\\{name}")
    if account.has_home:
        files.makedirs(home)
    if account.authorized_keys is not None:
        # Administrators share a file (qga/commands-windows-ssh.c).
        shared = "/C:/ProgramData/ssh/administrators_authorized_keys"
        path = shared if account.is_admin else f"{home}/.ssh/authorized_keys"
        files.makedirs(path.rpartition("/")[0])
        files.write(path, account.authorized_keys.encode())


def make_file(machine: Machine, path: str, settings: str | FileSettings | None) -> None:
    """Make what a scenario says of *path*, in place of what is there."""
    _make_file(machine, machine.inner_path(path), settings)


def _make_file(machine: Machine, path: str, settings: str | FileSettings | None) -> None:
    files = machine.files
    if settings is None:
        files.remove_if_there(path)
        return
    files.make_parents(path)
    if isinstance(settings, str):
        files.write(path, settings.encode("utf-8", "surrogateescape"))
        return
    if settings.kind == "directory" or settings.entries is not None:
        if not files.is_dir(path):
            files.mkdir(path)
        for name, entry in (settings.entries or {}).items():
            _make_file(machine, f"{path}/{name}", entry)
    else:
        files.remove_if_there(path)
        if settings.symlink is not None:
            files.symlink(settings.symlink, path)
            return
        _make_contents(files, path, settings)
    if settings.mode is not None:
        files.chmod(path, int(settings.mode, 8))
    if settings.owner is not None:
        uid, gid = machine.parse_owner(settings.owner)
        files.chown(path, uid, gid)
    if settings.mtime is not None:
        files.utime(path, settings.mtime)


def _make_contents(files: Files, path: str, settings: FileSettings) -> None:
    if settings.kind == "fifo":
        files.mkfifo(path)
    elif settings.size is not None:
        files.write(path, b"")
        node = files.get(path)
        assert isinstance(node, Regular)
        node.fill = (
            base64.b64decode(settings.fill_base64)
            if settings.fill_base64 is not None
            else (settings.fill or "\0").encode()
        )
        node.truncate(settings.size)
    elif settings.base64 is not None:
        files.write(path, base64.b64decode(settings.base64))
    else:
        files.write(path, (settings.text or "").encode("utf-8", "surrogateescape"))


def _make_devices(machine: Machine) -> None:
    files = machine.files
    for name, major, minor in _DEVICES:
        files.add_device(f"/dev/{name}", major, minor)
    for disk in machine.settings.disks:
        files.add_device(f"/dev/{disk.name}", disk.major, disk.minor, disk.size)
        for number, part in enumerate(sorted(disk.partitions, key=lambda p: p.name), 1):
            files.add_device(f"/dev/{part.name}", disk.major, disk.minor + number, part.size)
        if disk.alias is not None:
            # As udev does (10-dm.rules, 11-dm-lvm.rules).
            _link_device(files, f"/dev/mapper/{disk.alias}", f"../{disk.name}")
    for mount in machine.settings.mounts:
        block = find_block(machine.settings.disks, mount.device)
        if block is not None and mount.device.startswith("/dev/") and not block.is_partition:
            # A logical volume, as /dev/vg0/root.
            _link_device(files, mount.device, f"../{block.name}")


def _link_device(files: Files, path: str, target: str) -> None:
    files.make_parents(path)
    if not files.exists(path):
        files.symlink(target, path)


def _make_etc(machine: Machine) -> None:
    files, settings = machine.files, machine.settings
    files.write("/etc/hostname", f"{machine.settings.hostname or 'localhost'}\n".encode())
    if settings.os.release is not None:
        files.write("/etc/os-release", write_os_release(settings.os.release).encode())
    _make_accounts(machine)
    files.write(
        "/etc/fstab",
        "".join(
            f"{m.device} {escape_path(m.path)} {m.type} {m.options} 0 0\n" for m in settings.mounts
        ).encode(),
    )
    _make_zone(machine)
    if settings.clock.zone is not None:
        files.write("/etc/timezone", f"{settings.clock.zone}\n".encode())


def _make_zone(machine: Machine) -> None:
    """Make /etc/localtime, by which the guest's time zone is known."""
    files = machine.files
    zone = machine.settings.clock.zone
    if zone is not None:
        path = f"/usr/share/zoneinfo/{zone}"
        data = find_zone(zone)
        if data is None:
            raise os_error(errno.ENOENT, path)
        files.make_parents(path)
        files.write(path, data)
        files.symlink(path, "/etc/localtime")


def _make_accounts(machine: Machine) -> None:
    files, users = machine.files, machine.settings.users
    groups = dict(_GROUPS)
    entries = make_entries(users)
    for entry in entries:
        if entry.gid not in groups.values():
            groups.setdefault(entry.name, entry.gid)
    files.write("/etc/passwd", "".join(_passwd_line(e, users[e.name]) for e in entries).encode())
    shadow = "".join(_shadow_line(machine, e.name) for e in entries)
    files.write("/etc/shadow", shadow.encode(), 0o640)
    files.write("/etc/group", "".join(f"{g}:x:{n}:\n" for g, n in groups.items()).encode())
    for entry in entries:
        _make_home(files, entry, users[entry.name])


def _passwd_line(entry: PasswdEntry, account: Account) -> str:
    return f"{entry.name}:x:{entry.uid}:{entry.gid}:{account.comment}:{entry.home}:{entry.shell}\n"


def _shadow_line(machine: Machine, name: str) -> str:
    day = machine.clock.now() // DAY
    return f"{name}:{machine.settings.users[name].password}:{day}:0:99999:7:::\n"


def _make_home(files: Files, entry: PasswdEntry, account: Account) -> None:
    """Make the home directory of an account that has one."""
    if not account.has_home:
        return
    if not files.exists(entry.home):
        files.makedirs(entry.home)
        files.chown(entry.home, entry.uid, entry.gid)
    if account.authorized_keys is not None:
        directory = f"{entry.home}/.ssh"
        if not files.exists(directory):
            files.mkdir(directory, 0o700)
        files.write(f"{directory}/authorized_keys", account.authorized_keys.encode(), 0o600)
        for path in (directory, f"{directory}/authorized_keys"):
            files.chown(path, entry.uid, entry.gid)


# -- while it runs -----------------------------------------------------------------------------------


def change_programs(machine: Machine, programs: list[ProgramSettings]) -> None:
    """Replace the programs whose results are given.

    Raises:
        OSError: a file of one cannot be made, or removed.
    """
    before = {program.path for program in machine.settings.programs}
    wanted = {program.path: None for program in programs}
    for path in before.difference(wanted):
        machine.files.remove_if_there(machine.inner_path(path))
    for path in wanted:
        if path not in before:
            _make_program(machine, path)
    machine.settings = structs.replace(machine.settings, programs=programs)


def change_users(machine: Machine, users: dict[str, Account]) -> None:
    """Replace the accounts; the files of one that goes stay.

    Accounts that are as before keep what the guest has made of them, as a password that was set.

    Raises:
        OSError: a file cannot be written.
    """
    before = machine.settings.users
    changed = {name for name in {**before, **users} if before.get(name) != users.get(name)}
    machine.settings = structs.replace(machine.settings, users=users)
    files = machine.files
    if machine.is_windows:
        for name in changed.intersection(users):
            machine.passwords.pop(name, None)
            _make_windows_home(files, name, users[name])
        return
    entries = [entry for entry in make_entries(users) if entry.name in changed]
    new = {
        "/etc/passwd": [_passwd_line(entry, users[entry.name]) for entry in entries],
        "/etc/shadow": [_shadow_line(machine, entry.name) for entry in entries],
    }
    for path, lines in new.items():
        # Those that were there from the beginning come first, as useradd(8) appends.
        kept = [
            line
            for line in files.read_settings(path).splitlines(keepends=True)
            if line.partition(b":")[0].decode("utf-8", "surrogateescape") not in changed
        ]
        files.write(path, b"".join(kept) + "".join(lines).encode())
    groups = files.read_settings("/etc/group")
    known = {line.split(b":")[2] for line in groups.splitlines() if line.count(b":") >= 2}
    for entry in entries:
        if str(entry.gid).encode() not in known:
            groups += f"{entry.name}:x:{entry.gid}:\n".encode()
    files.write("/etc/group", groups)
    for entry in entries:
        _make_home(files, entry, users[entry.name])
