"""What each release changed, and from where that is known."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from qgasim.dialect.facts import Version

__all__ = ["CHANGES", "Change"]


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
        since=(2, 10),
        facts={
            "wrong_member_text": "QMP input member '{name}' must be {article} {kind}",
            "extra_member_text": "QMP input member '{name}' is unexpected",
        },
        source="qapi/qmp-dispatch.c of 2.9 and of 3.0",
        known="derived",
    ),
    Change(
        since=(3, 1),
        facts={
            "has_first_parser": False,
            "no_object_text": "Input must be a JSON object",
            "ignores_extra_braces": True,
        },
        source="qobject/json-*.c and qga/main.c of 2.9 (QERR_JSON_PARSING); 3.1 recorded",
        known="derived",
    ),
    Change(
        since=(3, 1),
        facts={"drops_percent": True},
        source="commit 8bca4613, as commit bbc0586ced says; 3.1 recorded",
        known="derived",
    ),
    Change(
        since=(4, 0),
        facts={"echoes_id": True},
        source="commit 4eaca8de26 (v4.0.0); 5.2 recorded",
    ),
    Change(
        since=(4, 0),
        facts={"no_object_text": "QMP input must be a JSON object"},
        source="commit 781f2b3d1e; 3.1 and 5.2 recorded",
    ),
    Change(
        since=(4, 0),
        facts={"looks_for_execute_first": False},
        source="3.1 and 4.2 recorded",
        known="derived",
    ),
    Change(
        since=(4, 0),
        facts={"drops_percent": False},
        source="commit bbc0586ced; 3.1 and 4.2 recorded",
    ),
    Change(
        since=(4, 0),
        facts={"replaces_duplicates": False},
        source="commit 00382fa851; 3.1 and 4.2 recorded",
    ),
    Change(
        since=(4, 0),
        facts={"aborts_without_reply": True},
        source="commit 781f2b3d1e 'qga: process_event() simplification': send_response() asserts that there is a "
        "response; a report",
    ),
    Change(
        since=(4, 2),
        facts={"refused_class": "CommandNotFound"},
        source="commit 2546be1c85; 3.1 and 4.2 recorded",
    ),
    Change(
        since=(5, 0),
        facts={"ignores_extra_braces": False},
        source="commit 1394dc0690; 4.2 and 5.0 recorded",
    ),
    Change(
        since=(5, 0),
        facts={"read_limit": 48 << 20},
        source="commit 1329651fb4; 3.1 and 5.2 recorded",
    ),
    Change(
        since=(5, 0),
        facts={"checks_hwclock": True},
        source="commit 5c6096e565; 3.1 and 5.2 recorded",
    ),
    Change(
        since=(5, 1),
        facts={"aborts_without_reply": False},
        # UNVERIFIED: which stable releases have it, too.
        source="the source of 5.1, and a report; whether 4.2.1 and 5.0.1 have it is not known",
    ),
    Change(
        since=(5, 1),
        facts={"keeps_host_name": False},
        source="commit 0d3a8f32b1 'qga: Use qemu_get_host_name() instead of g_get_host_name()', pull "
        "request qga-pull-2020-07-13; 5.2 recorded",
    ),
    Change(
        since=(5, 2),
        facts={"lists_nvme": True},
        source="commits d9fe4f0fea and 23843c129d; 3.1 and 5.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={
            "blocked_text": _DISABLED,
            "not_allowed_text": _DISABLED,
            "frozen_text": f"{_DISABLED}: the agent is in frozen state",
            "keeps_frozen_text": True,
        },
        source="commit 'qga: return a more explicit error on why a command is disabled'; "
        "5.2 and 7.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={"enum_text": "Parameter '{path}' does not accept value '{value}'"},
        source="5.2 and 6.2 recorded",
        known="derived",
    ),
    Change(
        since=(6, 0),
        facts={"writes_exact_doubles": True},
        source="qobject/json-writer.c came with 6.0; 5.2 and 6.2 recorded",
    ),
    Change(
        since=(6, 0),
        facts={"reads_cpu_directory": True},
        source="commit 'qga: Correct loop count in qmp_guest_get_vcpus()'; 5.2 and 6.2 recorded",
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
    ),
    Change(
        since=(8, 1),
        facts={"not_allowed_text": f"{_DISABLED}: the command is not allowed"},
        source="qga/main.c, ga_disable_not_allowed(), as it was before 'qga: centralize logic for "
        "disabling/enabling commands' (9.1); came with the list of 8.1; 8.2 recorded",
    ),
    Change(
        since=(8, 1),
        facts={"tries_all_suspends": True},
        # UNVERIFIED: which 7.2.z was the first, and which 8.0.z.
        source="commit 86dcb6ab9b (8.1, and stable branches); 6.2, 7.2.22 and 8.2 recorded; which 7.2.z was "
        "the first is not known",
        stable=((7, 2, 22),),
    ),
    Change(
        since=(8, 1),
        facts={"dies_of_single_stream": True},
        source="8.2.0 and 10.2.2 on Windows sent nothing and were gone; came with the modes of `capture-output`",
    ),
    Change(
        since=(8, 2),
        facts={
            "unknown_pid_text": "PID ld does not exist",
            "windows_unknown_pid_text": "PID lld does not exist",
        },
        source="patch 'qga: Improve guest-exec-status error message', pulled on 17 November 2023; "
        "7.2 and 10.0 recorded; on Windows 8.2 and 10.2 (PRId64 of mingw)",
    ),
    Change(
        since=(9, 0),
        facts={"knows_server_2025": True, "misspells_server_2025": True},
        source="patch 'qga-win: Add support of Windows Server 2025 in get-osinfo command', pulled on "
        "11 March 2024",
    ),
    Change(
        since=(9, 0),
        facts={"spoils_captures": True},
        source="10.0, 10.2 and 11.1 recorded. What 8.1 and 8.2 do depends on the build (a file descriptor that is "
        "not initialized), and is left out; the quirk switches it on",
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
        facts={
            "blocked_text": f"{_DISABLED}: the command is not allowed",
            "frozen_text": f"{_DISABLED}: the command is not allowed",
            "keeps_frozen_text": False,
        },
        source="pull request qga-pull-2024-07-22; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"frees_while_frozen": True},
        source="patch 'qga: centralize logic for disabling/enabling commands' of pull request "
        "qga-pull-2024-07-22 (qga/main.c, ga_command_is_allowed())",
    ),
    Change(
        since=(9, 1),
        facts={"hides_unsupported": True},
        source="the schema's conditions, pull request qga-pull-2024-07-22; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"tells_helper_output": True, "checks_hwclock": False},
        source="commit 'qga: introduce ga_run_command() helper' of March 2024; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"exec_failed_text": "{}"},
        source="patch 'qerror: QERR_QGA_COMMAND_FAILED is no longer used, drop' and those before it, "
        "pulled on 27 May 2024; 7.2 and 10.0 recorded",
    ),
    Change(
        since=(9, 1),
        facts={"no_utf16_text": "can't convert 'path' to UTF-16: {}"},
        source="the patches before 'qerror: QERR_QGA_COMMAND_FAILED is no longer used, drop'; 6.2 and 10.2 recorded "
        "on Windows",
        known="derived",
    ),
    Change(
        since=(9, 1),
        facts={"dies_of_helper_output": True},
        source="openwrt/packages issue 25209: guest-shutdown of 9.1.0 ends in a segmentation fault",
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
        since=(9, 2),
        facts={"dies_of_helper_output": False},
        source="openwrt/packages pull request 25825: 9.1.2 mends it",
        stable=((9, 1, 2),),
    ),
    Change(
        since=(9, 2),
        facts={"crypted_text": "'crypted' must be off on this host"},
        source="patch that drops QERR_UNSUPPORTED, posted on 11 September 2024, when 9.1 was out; "
        "qga/commands-win32.c of 7.2 has the old text, agents of today have this",
        known="derived",
    ),
    Change(
        since=(10, 0),
        facts={"misspells_server_2025": False},
        source="patch 'qemu-ga-win: Fix a typo error', pull request qga-pull-2024-12-18",
    ),
    Change(
        since=(10, 0),
        facts={"opens_channel_first": True},
        source="commits 5b567c21c6 and c6f5dd7ac8, pull request qga-pull-2025-02-26",
    ),
    Change(
        since=(10, 0),
        facts={"skips_bind_mounts": True},
        source="commit 56ef123777 'qga: skip bind mounts in fs list', pull request qga-pull-2024-12-18; "
        "7.2 and 10.0 recorded",
    ),
    Change(
        since=(10, 1),
        facts={"replaces_sys_state": False},
        source="commit b217d987a3 'qga: correctly write to /sys/power/state on linux' (between 10.1.0-rc2 "
        "and 10.1.0); announcement of 10.0.4; 10.0.13 recorded",
        stable=((10, 0, 4),),
    ),
    Change(
        since=(10, 2),
        facts={"tells_truncated": True},
        source="commit 28c5d27dd4dc; announcement of 10.0.4, lists of patches for 7.2.20 and 10.1.1; 7.2.22 "
        "and 10.0.13 recorded",
        stable=((7, 2, 20), (10, 0, 4), (10, 1, 1)),
    ),
    Change(
        since=(10, 2),
        facts={"vss_error_text": "Windows error 0x{:x}: "},
        source="a patch to qga/vss-win32/requester.cpp, in 10.0.4 and 10.1.1, too",
        stable=((10, 0, 4), (10, 1, 1)),
    ),
    Change(
        since=(10, 2),
        facts={"sizes_all_volumes": True},
        source="a report and the patch that answers it: `System Reserved` has sizes in 10.2",
        known="derived",
    ),
    Change(
        since=(10, 2),
        facts={"prefers_poweroff": True},
        source="pull request qga-pull-2025-10-30; 10.0 and 11.1 recorded",
    ),
    Change(
        since=(11, 0),
        facts={"no_cpu_text": "Could not open '{}': No such file or directory"},
        source="patch 'qga: Use error_setg_file_open() for better error messages', pulled on 7 January "
        "2026; 10.0 and 11.1 recorded",
    ),
    Change(
        since=(11, 1),
        facts={"locates_parse_errors": True},
        source="10.0 and 11.1 recorded",
        known="derived",
    ),
)
