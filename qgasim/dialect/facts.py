"""What releases of qemu-ga do differently, by name: as the oldest does it."""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = ["BLOCKED_AND_ALLOWED", "Dialect", "Family", "Version"]

#: What an agent says that does not take both lists (qga/main.c).
BLOCKED_AND_ALLOWED: Final = (
    "wrong commandline, using --block-rpcs and --allow-rpcs at the same time is not allowed"
)

Version: TypeAlias = tuple[int, int]
Family: TypeAlias = Literal["linux", "freebsd", "windows"]
"""The platforms that qemu-ga is built for, as far as their commands differ."""


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
    #: In strings, ``%`` is dropped, and what follows it stands for itself, be it a backslash or the quote;
    #: one that ends a string ends the agent.
    drops_percent: bool = False
    #: Of members of an object that have the same key, the last counts; later, that is an error.
    replaces_duplicates: bool = True
    #: The parser is that of before 3.1: what it cannot make sense of is ``Invalid JSON syntax``, and of several
    #: errors it tells the last.
    has_first_parser: bool = True
    #: A ``}`` too many does not end a message in which a ``[`` is open.
    ignores_extra_braces: bool = False
    #: Wording for a message that is no object.
    no_object_text: str = "Invalid JSON syntax"
    #: Wording for a member of a request that is of another type.
    wrong_member_text: str = "QMP input object member '{name}' expects '{kind}'"
    #: Wording for a member of a request that there is not.
    extra_member_text: str = "QMP input object member '{name}' is unexpected"
    #: An object without ``execute`` is refused as such, whatever else is wrong with it.
    looks_for_execute_first: bool = True
    #: The parser takes one token at a time: it finds an error at once, says at which line and column,
    #: and passes over the rest of the message in silence.
    locates_parse_errors: bool = False

    #: The agent aborts after a command whose success is not answered, when it has done it.
    aborts_without_reply: bool = False

    # -- which commands there are --

    #: A command of other platforms does not exist; before, it was listed and refused.
    hides_unsupported: bool = False
    #: The class of the error for a command that is refused.
    refused_class: str = "GenericError"
    #: Wording for a command that the administrator blocked.
    blocked_text: str = "The command {} has been disabled for this instance"
    #: Wording for a command that is not on the list of those that the administrator allowed.
    not_allowed_text: str = "The command {} has been disabled for this instance"
    #: Wording for a command that must wait for the thaw.
    frozen_text: str = "The command {} has been disabled for this instance"
    #: A blocked command keeps the wording of the frozen state after the thaw (qga/main.c,
    #: ga_enable_non_blocked(): only commands that get enabled lose their reason).
    keeps_frozen_text: bool = False
    #: What may be done while file systems are frozen is served then even if it is blocked, or not on
    #: the list of what is allowed: so a guest can always be thawed.
    frees_while_frozen: bool = False

    # -- arguments --

    #: Wording for a string that an enumeration does not have.
    enum_text: str = "Invalid parameter '{value}'"

    # -- files --

    #: How many bytes guest-file-read takes at most for its *count*.
    read_limit: int = (1 << 32) - 2

    # -- time --

    #: guest-set-time does nothing where there is no hwclock; if not, it sets the time all the same.
    checks_hwclock: bool = False

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
    #: The agent dies when a helper program that it waits for writes something.
    dies_of_helper_output: bool = False
    #: Capturing one stream closes the agent's own standard input: the next program loses what it
    #: writes if it is given input, the second that has one stream captured never seems to end, and after
    #: that all lose their standard output.
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

    #: The host name is returned as it was when it was first asked for (glib's g_get_host_name()).
    keeps_host_name: bool = True
    #: guest-get-vcpus reads a directory of sysfs, and lists in its order; before, it counted.
    reads_cpu_directory: bool = False
    #: Wording for a processor that is not there; ``{}`` is its directory.
    no_cpu_text: str = 'open("{}"): No such file or directory'
    #: The disks of a file system on NVMe are listed.
    lists_nvme: bool = False
    #: The PCI address and the bus of NVMe disks are known.
    knows_nvme: bool = False
    #: A file system mounted in several places is listed, frozen and trimmed only in the first.
    skips_bind_mounts: bool = False

    #: Metric and flags of an IPv6 route are read into C's signed integers (qga/commands-linux.c): a
    #: metric of 2^32 - 1 is returned as -1, and flags with the highest bit have all bits above it.
    extends_route_signs: bool = True

    # -- Windows --

    #: Wording of guest-exec-status for a pid it does not know.
    windows_unknown_pid_text: str = "Invalid parameter 'pid'"
    #: Capturing one stream ends the agent, when the program has been started.
    dies_of_single_stream: bool = False
    #: Wording of guest-file-open for a path that is not Unicode: ``{}`` is why.
    no_utf16_text: str = "Guest agent command failed, error was '{}'"
    #: What stands before Windows' words about an error of VSS: ``{:x}`` is its number.
    vss_error_text: str = ""

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
    #: guest-get-fsinfo on Windows tells the sizes of volumes without a mount point, too.
    sizes_all_volumes: bool = False
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
    #: Commands may be blocked and allowed at the same time; an agent of 8.1 to 9.0 does not start then.
    takes_block_with_allow: bool = False
    #: ``--config`` is taken.
    takes_config_path: bool = False
    #: The channel is opened before the agent becomes a daemon, so that its parent learns from the
    #: exit status whether it could be, and an agent that could not be initialized does not end well.
    opens_channel_first: bool = False

    def explain_no_start(self, *, allows: bool, blocks: bool) -> str | None:
        """Return why an agent that allows some commands and *blocks* some does not start; None: it does."""
        if allows and blocks and self.takes_allow_rpcs and not self.takes_block_with_allow:
            return f"qemu-ga {self.full_version} does not start: {BLOCKED_AND_ALLOWED}"
        return None

    def has(self, since: Version) -> bool:
        """Return whether the release has what came with *since*."""
        return since <= self.version
