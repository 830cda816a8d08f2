"""The programs that a guest has: named functions that work on the guest's state.

Each module registers its programs under their names: ``@program("cat")`` (`registry`). Where
their files lie is in `qgasim.userland.catalogue`.
"""

# isort: off
from qgasim.userland.programs import (
    awk, busybox, cat_wc, chpasswd, cp, cut, date, env, find, grep, head_tail, hostname, id, ip, kill, ls,
    mkdir_chmod, mount, mv_ln, path_names, printf, rm, sed, shutdown, small, sort, stat, tr,
    uptime,
)  # fmt: skip
# isort: on

__all__ = [
    "awk", "busybox", "cat_wc", "chpasswd", "cp", "cut", "date", "env", "find", "grep", "head_tail", "hostname",
    "id", "ip", "kill", "ls", "mkdir_chmod", "mount", "mv_ln", "path_names", "printf", "rm", "sed",
    "shutdown", "small", "sort", "stat", "tr", "uptime",
]  # fmt: skip
