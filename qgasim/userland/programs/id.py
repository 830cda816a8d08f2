"""The program id."""

from typing import Final

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import parse, usage_error
from qgasim.userland.programs.messages import complain, fail, is_busybox, pick, quote_text
from qgasim.userland.programs.registry import program
from qgasim.userland.programs.user_names import (
    User,
    find_user,
    group_name,
    groups,
    user_name,
    users,
)

__all__: list[str] = []

ROOT: Final = User("root", 0, 0)
_ID_LONG: Final = {"user": "u", "group": "g", "groups": "G", "name": "n", "real": "r"}


def _group_ids(p: Process, user: User) -> list[int]:
    """Return the groups of a user, the own one first."""
    others = [g.gid for g in groups(p) if user.name in g.members and g.gid != user.gid]
    return [user.gid, *others]


def _find(p: Process, name: str) -> Waiting[User | None]:
    user = find_user(p, name)
    if user is None and name.isdecimal() and not is_busybox(p):
        user = next((user for user in users(p) if user.uid == to_int(name)), None)
    if user is None:
        odd = f"{quote_text(name)}: no such user"
        yield from complain(p, pick(p, f"unknown user {name}", odd))
    return user


def _named(number: int, name: str | None) -> str:
    return f"{number}({name})" if name is not None else str(number)


@program("id")
def identity(p: Process) -> Steps:
    """Print who a user is, and in which groups."""
    options = yield from parse(p, "ugGnra", _ID_LONG)
    which = options.last("ugG")
    status = 0
    kinds = {name for name, _ in options if name in "ugG"}
    text = ""
    if len(kinds) > 1:
        text = 'cannot print "only" of more than one choice'
    elif not kinds and options.last("nr"):
        text = "cannot print only names or real IDs in default format"
    elif is_busybox(p) and len(options.operands) > 1:
        text = "more than one user"
    if text:
        yield from usage_error(p) if is_busybox(p) else fail(p, text)
    names: list[str | None] = [*options.operands] or [None]
    for name in names:
        user = ROOT if name is None else (yield from _find(p, name))
        if user is None:
            status = 1
            continue
        ids = _group_ids(p, user)
        if not which:
            line = f"uid={_named(user.uid, user_name(p, user.uid))}"
            line += f" gid={_named(user.gid, group_name(p, user.gid))}"
            # A process that init started has no supplementary groups, and BusyBox then prints
            # none, where GNU's id counts the own one (recorded: exec/id).
            if name is not None or len(ids) > 1 or not is_busybox(p):
                line += " groups=" + ",".join(_named(gid, group_name(p, gid)) for gid in ids)
            yield from p.write(1, line + "\n")
            continue
        numbers = {"u": [user.uid], "g": [user.gid], "G": ids}[which]
        look_up = user_name if which == "u" else group_name
        texts = [(look_up(p, n) if "n" in options else None) or str(n) for n in numbers]
        yield from p.write(1, " ".join(texts) + "\n")
    return status
