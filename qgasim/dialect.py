"""qemu-ga releases: every fact that differs between them, by name.

A command asks its agent's dialect for a fact, never for a number. A `Dialect` begins as qemu-ga 3.1;
`CHANGES` tells what each release after it changed, and from where that is known.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field, structs

__all__ = [
    "CHANGES",
    "FULL_VERSIONS",
    "LATEST",
    "OLDEST",
    "QUIRKS",
    "RECORDED",
    "RELEASES",
    "Change",
    "Dialect",
    "Family",
    "Quirk",
    "Switch",
    "Version",
    "find_dialect",
    "with_quirks",
]

Version: TypeAlias = tuple[int, int]
Family: TypeAlias = Literal["linux", "freebsd", "windows"]
"""The platforms that qemu-ga is built for, as far as their commands differ."""
Switch: TypeAlias = Literal["on", "off"]
"""Whether an agent has a quirk (YAML 1.2 takes ``on`` and ``off`` for texts)."""


class Dialect(Struct, frozen=True, kw_only=True, cache_hash=True):
    """What one release of qemu-ga does differently from others."""

    #: Major and minor number.
    version: Version
    #: What guest-info says, unless the scenario says otherwise.
    full_version: str

    # -- the wire --

    #: A request may carry an ``id``, which its reply repeats.
    echoes_id: bool = False
    #: Doubles are written with 17 significant digits, not with six places after the point.
    writes_exact_doubles: bool = False
    #: The parser takes one token at a time: it finds an error at once, says at which line and column,
    #: and passes over the rest of the message in silence.
    locates_parse_errors: bool = False

    # -- which commands there are --

    #: A command of other platforms does not exist; before, it was listed and refused.
    hides_unsupported: bool = False
    #: Wording for a command that the administrator blocked.
    blocked_text: str = "The command {} has been disabled for this instance"
    #: Wording for a command that must wait for the thaw.
    frozen_text: str = "The command {} has been disabled for this instance"
    #: A blocked command keeps the wording of the frozen state after the thaw (qga/main.c,
    #: ga_enable_non_blocked(): only commands that get enabled lose their reason).
    keeps_frozen_text: bool = False

    # -- arguments --

    #: Wording for a string that an enumeration does not have.
    enum_text: str = "Invalid parameter '{value}'"

    # -- programs --

    #: Wording of guest-exec's refusal, and of others in glib's and in Windows' words: ``{}``.
    exec_failed_text: str = "Guest agent command failed, error was '{}'"
    #: Wording of guest-exec-status for a pid it does not know.
    unknown_pid_text: str = "Invalid parameter 'pid'"
    #: ``out-truncated`` and ``err-truncated`` come with all data and are true when they should be;
    #: before, they came only with truncated data, and were false.
    tells_truncated: bool = False
    #: What a helper program wrote is in the error about it; one that is missing fails like one that
    #: runs (ga_run_command()).
    tells_helper_output: bool = False
    #: Capturing one stream closes the agent's own standard input: the next program loses what it
    #: writes if it is given input, and the second that has one stream captured never seems to end.
    spoils_captures: bool = False
    #: A mode of suspending that one tool does not support is left to the next tool.
    tries_all_suspends: bool = False
    #: Wording for a kernel that refuses to sleep; ``{}`` is why.
    no_sleep_text: str = "child process has failed to suspend"
    #: The kernel is asked to sleep by a function that first writes another file beside the one it is
    #: to write, and in sysfs that cannot be.
    replaces_sys_state: bool = False
    #: guest-shutdown prefers /sbin/poweroff, /sbin/halt and /sbin/reboot to /sbin/shutdown.
    prefers_poweroff: bool = False

    # -- hardware and storage --

    #: guest-get-vcpus reads a directory of sysfs, and lists in its order; before, it counted.
    reads_cpu_directory: bool = False
    #: Wording for a processor that is not there; ``{}`` is its directory.
    no_cpu_text: str = 'open("{}"): No such file or directory'
    #: The PCI address and the bus of NVMe disks are known.
    knows_nvme: bool = False
    #: A file system mounted in several places is listed, frozen and trimmed only in the first.
    skips_bind_mounts: bool = False

    #: Metric and flags of an IPv6 route are read into C's signed integers (qga/commands-linux.c): a
    #: metric of 2^32 - 1 is told as -1, and flags with the highest bit have all bits above it.
    extends_route_signs: bool = True

    # -- Windows --

    #: Wording for a password that is a hash already.
    crypted_text: str = "this feature or command is not currently supported"
    #: Wording of the freezing commands where VSS cannot be used.
    no_vss_text: str = "this feature or command is not currently supported"
    #: Where VSS cannot be used, guest-get-fsinfo and the freezing commands are refused
    #: (ga_command_init_blockedrpcs()).
    blocks_without_vss: bool = True
    #: Which modes guest-shutdown says that it takes.
    shutdown_modes: str = "halt|powerdown|reboot"
    #: Windows 11 and Server 2022 are known. Before, all clients of kernel 10.0 were Windows 10, and
    #: servers newer than 2019 ``N/A``.
    knows_windows_11: bool = False
    #: Server 2025 is known; before, it was Server 2022.
    knows_server_2025: bool = False
    #: Server 2025 is called "MIcrosoft Windows Server 2025".
    misspells_server_2025: bool = False
    #: A comma is missing in the table of names: the version of Windows 7 is "Microsoft Windows 77",
    #: and its version-id is no text at all.
    joins_windows_7: bool = True
    #: A member that is no text at all is left out; before, it was an empty text (the generated code
    #: went by a flag of its own for each optional member).
    omits_absent_texts: bool = False
    #: Addresses have prefix lengths. A build for Windows XP has -1 where it finds none.
    tells_prefixes: bool = True

    # -- the command line --

    #: The name of the list of blocked commands in a config file.
    block_key: str = "blacklist"
    #: ``--blacklist`` and the key of that name are taken.
    takes_blacklist: bool = True
    #: ``--allow-rpcs`` and the key of that name are taken.
    takes_allow_rpcs: bool = False
    #: Commands may be blocked and allowed at the same time.
    takes_block_with_allow: bool = False
    #: ``--config`` is taken.
    takes_config_path: bool = False
    #: The channel is opened before the agent becomes a daemon, so that who started it learns from the
    #: exit status whether it could be, and an agent that could not be initialized does not end well.
    opens_channel_first: bool = False

    def has(self, since: Version) -> bool:
        """Whether the release has what came with *since*."""
        return since <= self.version


class Change(Struct, frozen=True, kw_only=True):
    """What a release changed."""

    since: Version
    facts: Mapping[str, Any]
    #: How it is known.
    source: str
    #: How the release is known: ``read`` in QEMU's own words, or ``derived``, if it is only known to
    #: be one of several, and this the likeliest.
    known: Literal["read", "derived"] = "read"
    #: Releases on stable branches that have it, too: major, minor, patch.
    stable: tuple[tuple[int, int, int], ...] = ()


_DISABLED: Final = "Command {} has been disabled"

CHANGES: Final = (
    Change(
        since=(4, 0),
        facts={"echoes_id": True},
        source="commit 4eaca8de26 (v4.0.0); 5.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={
            "blocked_text": _DISABLED,
            "frozen_text": f"{_DISABLED}: the agent is in frozen state",
            "keeps_frozen_text": True,
        },
        source="commit 'qga: return a more explicit error on why a command is disabled'; "
        "5.2 and 7.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={"enum_text": "Parameter '{path}' does not accept value '{value}'"},
        source="5.2 and 7.2 recorded",
        known="derived",
    ),
    Change(
        since=(6, 0),
        facts={"writes_exact_doubles": True},
        source="qobject/json-writer.c is taken to have come with 6.0; 5.2 and 7.2 recorded",
        known="derived",
    ),
    Change(
        since=(6, 0),
        facts={"reads_cpu_directory": True},
        source="commit 'qga: Correct loop count in qmp_guest_get_vcpus()'; 5.2 and 7.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={"tries_all_suspends": True},
        source="5.2 and 7.2 recorded",
        known="derived",
    ),
    Change(
        since=(6, 0),
        facts={"shutdown_modes": "'halt', 'powerdown', or 'reboot'"},
        source="a patch 'for consistency with similar error messages elsewhere'; "
        "qga/commands-win32.c of 5.1 and of 7.2",
        known="derived",
    ),
    Change(
        since=(7, 0),
        facts={"knows_windows_11": True},
        source="commits 92857cd738 and 206ce9699f, pull request qga-win32-pull-2022-01-10",
    ),
    Change(
        since=(7, 1),
        facts={"knows_nvme": True},
        source="bus type `nvme` is marked `since 7.1`; 5.2 and 7.2 recorded",
    ),
    Change(
        since=(7, 2),
        facts={"block_key": "block-rpcs"},
        source="docs/about/deprecated.rst: `--blacklist` is deprecated since 7.2",
    ),
    Change(
        since=(8, 0),
        facts={"omits_absent_texts": True},
        source="has_ members of optional texts were removed from the generated code in December 2022",
        known="derived",
    ),
    Change(
        since=(8, 1),
        facts={"takes_allow_rpcs": True},
        source="qga/main.c of 8.1",
        known="derived",
    ),
    Change(
        since=(8, 1),
        facts={"spoils_captures": True},
        source="came with the modes of `capture-output`; 10.0 and 11.1 recorded",
        known="derived",
    ),
    Change(
        since=(9, 0),
        facts={"knows_server_2025": True, "misspells_server_2025": True},
        source="patch 'qga/commands-win32: Add support of Windows Server 2025 in get-osinfo command' "
        "of March 2024",
        known="derived",
    ),
    Change(
        since=(9, 1),
        facts={
            "no_vss_text": "fsfreeze not possible as VSS failed to initialize",
            "blocks_without_vss": False,
        },
        source="patch 20240712132459.3974109-19 of pull request qga-pull-2024-07-22",
    ),
    Change(
        since=(9, 1),
        facts={"crypted_text": "'crypted' must be off on this host"},
        source="qga/commands-win32.c of 7.2 has the old text, agents of today have this",
        known="derived",
    ),
    Change(
        since=(9, 1),
        facts={
            "blocked_text": f"{_DISABLED}: the command is not allowed",
            "frozen_text": f"{_DISABLED}: the command is not allowed",
            "keeps_frozen_text": False,
        },
        source="pull request qga-pull-2024-07-22; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"hides_unsupported": True},
        source="the schema's conditions, pull request qga-pull-2024-07-22; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"tells_helper_output": True},
        source="commit 'qga: introduce ga_run_command() helper' of March 2024; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"exec_failed_text": "{}", "unknown_pid_text": "PID ld does not exist"},
        source="7.2 and 10.0 recorded",
        known="derived",
    ),
    Change(
        since=(9, 1),
        facts={
            "no_sleep_text": "suspend: cannot write to '/sys/power/state': {}",
            "replaces_sys_state": True,
        },
        source="commit 2048129625 (v9.0.0-343)",
    ),
    Change(
        since=(9, 1),
        facts={"takes_blacklist": False},
        source="docs/about/removed-features.rst: `--blacklist` was removed in 9.1",
    ),
    Change(
        since=(9, 1),
        facts={"takes_block_with_allow": True, "takes_config_path": True},
        source="pull request qga-pull-2024-07-22",
    ),
    Change(
        since=(10, 0),
        facts={"misspells_server_2025": False},
        source="patch 'qemu-ga-win: Fix a typo error' of December 2024",
        known="derived",
    ),
    Change(
        since=(10, 0),
        facts={"opens_channel_first": True},
        source="commits 5b567c21c6 and c6f5dd7ac8, pull request qga-pull-2025-02-26",
    ),
    Change(
        since=(10, 0),
        facts={"skips_bind_mounts": True},
        source="commit 'qga: skip bind mounts in fs list'; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(10, 2),
        facts={"tells_truncated": True},
        source="commit 28c5d27dd4dc; 7.2.22 and 10.0.13 recorded. Which 10.0.x is a guess",
        stable=((7, 2, 20), (10, 0, 3)),
    ),
    Change(
        since=(10, 2),
        facts={"replaces_sys_state": False},
        source="commit 'qga: correctly write to /sys/power/state on linux' of August 2025; "
        "10.0.13 recorded. Which 10.0.x is a guess",
        stable=((10, 0, 4),),
    ),
    Change(
        since=(10, 2),
        facts={"prefers_poweroff": True},
        source="pull request qga-pull-2025-10-30; 10.0 and 11.1 recorded",
    ),
    Change(
        since=(11, 1),
        facts={"no_cpu_text": "Could not open '{}': No such file or directory"},
        source="10.0 and 11.1 recorded",
        known="derived",
    ),
    Change(
        since=(11, 1),
        facts={"locates_parse_errors": True},
        source="10.0 and 11.1 recorded",
        known="derived",
    ),
)


class Quirk(Struct, frozen=True, kw_only=True):
    """A mistake that some releases have, and that can be switched on and off by name."""

    description: str
    #: The facts of an agent with it, and of one without.
    on: Mapping[str, Any]
    off: Mapping[str, Any] = field(default_factory=dict[str, Any])


QUIRKS: Final[dict[str, Quirk]] = {
    "list_orders": Quirk(
        description="guest-get-vcpus lists processors in the order of a directory of sysfs, which is "
        "that of a hash, and not by their numbers.",
        on={"reads_cpu_directory": True},
        off={"reads_cpu_directory": False},
    ),
    "no_sysfs_sleep": Quirk(
        description="The guest can only be suspended by systemd or pm-utils: /sys/power/state is "
        "written in a way in which it cannot be.",
        on={"replaces_sys_state": True},
        off={"replaces_sys_state": False},
    ),
    "single_stream_capture": Quirk(
        description="guest-exec with `capture-output` `stdout` or `stderr` spoils later captures.",
        on={"spoils_captures": True},
        off={"spoils_captures": False},
    ),
    "pid_ld": Quirk(
        description="guest-exec-status says `PID ld does not exist` whatever the pid.",
        on={"unknown_pid_text": "PID ld does not exist"},
        off={"unknown_pid_text": "PID {} does not exist"},
    ),
    "untold_truncation": Quirk(
        description="guest-exec-status has `out-truncated` and `err-truncated` only if the output was "
        "truncated, and says false.",
        on={"tells_truncated": False},
        off={"tells_truncated": True},
    ),
    "route_signs": Quirk(
        description="guest-network-get-route tells large metrics and flags of IPv6 routes as negative, "
        "and as far too large.",
        on={"extends_route_signs": True},
        off={"extends_route_signs": False},
    ),
    "windows_77": Quirk(
        description="Windows 7 is `Microsoft Windows 77` without a `version-id`.",
        on={"joins_windows_7": True},
        off={"joins_windows_7": False},
    ),
    "windows_2025_typo": Quirk(
        description="Windows Server 2025 is `MIcrosoft Windows Server 2025`.",
        on={"misspells_server_2025": True},
        off={"misspells_server_2025": False},
    ),
    "no_prefixes": Quirk(
        description="Addresses on Windows have prefix -1, as in builds for Windows XP. No release has "
        "it by itself.",
        on={"tells_prefixes": False},
        off={"tells_prefixes": True},
    ),
}

OLDEST: Final[Version] = (3, 1)
#: The releases that are named, and what each calls itself if nobody says otherwise.
FULL_VERSIONS: Final[dict[Version, str]] = {
    (3, 1): "3.1.0",
    (5, 2): "5.2.0",
    (6, 2): "6.2.0",
    (7, 2): "7.2.22",
    (8, 2): "8.2.0",
    (9, 1): "9.1.0",
    (10, 0): "10.0.13",
    (10, 2): "10.2.0",
    (11, 1): "11.1.3",
}
#: Those whose answers were recorded (tests/golden).
RECORDED: Final = frozenset({(5, 2), (7, 2), (10, 0), (11, 1)})
LATEST: Final[Version] = max(FULL_VERSIONS)

_RELEASE: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?([-~+ (].*)?")


@lru_cache(maxsize=256)
def find_dialect(release: str) -> Dialect | None:
    """Find the dialect of a release as people write it.

    ``7.2``, a full version such as ``7.2.22`` or a distribution's ``8.2.2 (Debian 1:8.2.2+ds)``, or
    ``latest``. None if it is no release, or one that nothing is known of.
    """
    if release == "latest":
        release = "{}.{}".format(*LATEST)
    match = _RELEASE.fullmatch(release)
    if match is None:
        return None
    version = (int(match[1]), int(match[2]))
    # QEMU's minor releases are 0, 1 and 2.
    if not OLDEST <= version <= LATEST or version[1] > 2:
        return None
    is_short = match[3] is None and match[4] is None
    full = FULL_VERSIONS.get(version, f"{match[1]}.{match[2]}.0") if is_short else release
    patch = (*version, int(match[3] or FULL_VERSIONS.get(version, "..0").split(".")[2]))
    facts: dict[str, Any] = {}
    for change in CHANGES:
        is_stable = any(patch[:2] == fixed[:2] and patch >= fixed for fixed in change.stable)
        if change.since <= version or is_stable:
            facts |= change.facts
    return Dialect(version=version, full_version=full, **facts)


def _find(version: Version) -> Dialect:
    dialect = find_dialect("{}.{}".format(*version))
    assert dialect
    return dialect


RELEASES: Final[dict[Version, Dialect]] = {version: _find(version) for version in FULL_VERSIONS}


def with_quirks(dialect: Dialect, quirks: Mapping[str, Switch]) -> Dialect:
    """Give the dialect of an agent with some quirks switched on or off."""
    facts: dict[str, Any] = {}
    for name, switch in quirks.items():
        facts |= QUIRKS[name].on if switch == "on" else QUIRKS[name].off
    return structs.replace(dialect, **facts)
