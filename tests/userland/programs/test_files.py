"""The programs about files, in both userlands.

The expectations are from knowledge of BusyBox 1.35 and GNU coreutils 9.1 (findutils 4.9, sed 4.9,
mawk): no real program was run for them.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import pytest

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.processes.process import Exit
from qgasim.guest.settings import FileSettings, MountSettings, OsSettings
from qgasim.guest.system.accounts import Account
from qgasim.userland import USERLANDS
from tests.serving import Course

Run: TypeAlias = Callable[..., tuple[bytes, bytes, Exit]]
Userland: TypeAlias = Literal["busybox", "gnu"]
Make: TypeAlias = Callable[[Userland], Guest]

SECOND = 1_000_000_000
B: Final = "busybox"
G: Final = "gnu"
BOTH: Final = (B, G)
TRY = "Try '{0} --help' for more information.\n"
USAGE = "BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) multi-call binary.\n\nUsage: {0} ...\n"
NONE = "No such file or directory\n"


class Case(NamedTuple):
    userland: Userland | tuple[Userland, ...]
    argv: str | list[str]
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    status: int = 0


def sh(*script: str) -> str:
    """Join lines."""
    return "".join(line + "\n" for line in script)


# A script is several commands with " ; " between them; stdout is what they all print.
CASES = [
    # pwd, basename, dirname
    Case(BOTH, "pwd", stdout="/w\n"),
    Case(BOTH, "basename /a/b.c .c", stdout="b\n"),
    Case(BOTH, "basename /a/b/", stdout="b\n"),
    Case(BOTH, "basename /", stdout="/\n"),
    Case(BOTH, "basename .c .c", stdout=".c\n"),
    Case(G, "basename", stderr="basename: missing operand\n" + TRY.format("basename"), status=1),
    Case(B, "basename", stderr=USAGE.format("basename"), status=1),
    Case(G, "basename a b c", stderr="basename: extra operand 'c'\n" + TRY.format("basename"), status=1),
    Case(BOTH, "dirname /a/b", stdout="/a\n"),
    Case(BOTH, "dirname a", stdout=".\n"),
    Case(BOTH, "dirname /a", stdout="/\n"),
    Case(BOTH, "dirname a//b//", stdout="a\n"),
    # ls
    Case(BOTH, "ls", stdout="a\nd\nl\n"),
    Case(BOTH, "ls -r", stdout="l\nd\na\n"),
    Case(BOTH, "ls -a", stdout=".\n..\n.h\na\nd\nl\n"),
    Case(BOTH, "ls -A", stdout=".h\na\nd\nl\n"),
    Case(BOTH, "ls -1 d a", stdout="a\n\nd:\nx\n"),
    Case(BOTH, "ls -d d", stdout="d\n"),
    Case(BOTH, "ls -R", stdout=".:\na\nd\nl\n\n./d:\nx\n"),
    Case(BOTH, "ls -t", stdout="d\nl\na\n"),
    Case(B, "ls no", stderr="ls: no: " + NONE, status=1),
    Case(G, "ls no", stderr="ls: cannot access 'no': " + NONE, status=2),
    Case(G, "ls -Y", stderr="ls: invalid option -- 'Y'\n" + TRY.format("ls"), status=2),
    Case(
        B, "ls -l",
        stdout=sh(
            "total 8",
            "-rw-r-----    1 alice    users            8 Jan  1  2020 a",
            "drwxr-xr-x    2 root     root          4096 Jan  1 00:00 d",
            "lrwxrwxrwx    1 root     root             1 Jan  1 00:00 l -> a",
        ),
    ),
    Case(
        G, "ls -l",
        stdout=sh(
            "total 8",
            "-rw-r----- 1 alice users    8 Jan  1  2020 a",
            "drwxr-xr-x 2 root  root  4096 Jan  1 00:00 d",
            "lrwxrwxrwx 1 root  root     1 Jan  1 00:00 l -> a",
        ),
    ),
    Case(B, "ls -ln a", stdout="-rw-r-----    1 1000     100              8 Jan  1  2020 a\n"),
    Case(G, "ls -ln a", stdout="-rw-r----- 1 1000 100 8 Jan  1  2020 a\n"),
    Case(G, "ls -l /dev/null", stdout="crw-rw-rw- 1 root root 1, 3 Jan  1 00:00 /dev/null\n"),
    Case(
        B, "ls -l /dev/null",
        stdout="crw-rw-rw-    1 root     root        1,   3 Jan  1 00:00 /dev/null\n",
    ),
    # stat
    Case(BOTH, ["stat", "-c", "%n %s %a %A %F", "a"], stdout="a 8 640 -rw-r----- regular file\n"),
    Case(BOTH, ["stat", "-c", "%u %U %g %G %h", "a"], stdout="1000 alice 100 users 1\n"),
    Case(BOTH, ["stat", "-c", "%X %Y", "a"], stdout="1577836800 1577836800\n"),
    Case(BOTH, ["stat", "-c", "%y", "a"], stdout="2020-01-01 00:00:00.000000000 +0000\n"),
    Case(BOTH, ["stat", "-c", "%F %t %T", "/dev/null"], stdout="character special file 1 3\n"),
    Case(BOTH, ["stat", "-c", "%F", "l", "d"], stdout="symbolic link\ndirectory\n"),
    Case(BOTH, ["stat", "-L", "-c", "%F", "l"], stdout="regular file\n"),
    Case(BOTH, ["stat", "-c", "%N", "l"], stdout="'l' -> 'a'\n"),
    Case(BOTH, ["stat", "-c", "[%5s|%-5s]", "a"], stdout="[    8|8    ]\n"),
    Case(B, "stat no", stderr="stat: can't stat 'no': " + NONE, status=1),
    Case(G, "stat no", stderr="stat: cannot statx 'no': " + NONE, status=1),
    # mkdir
    Case(BOTH, "mkdir n ; ls -d n", stdout="n\n"),
    Case(B, "mkdir d", stderr="mkdir: can't create directory 'd': File exists\n", status=1),
    Case(G, "mkdir d", stderr="mkdir: cannot create directory 'd': File exists\n", status=1),
    Case(B, "mkdir x/y", stderr="mkdir: can't create directory 'x/y': " + NONE, status=1),
    Case(G, "mkdir x/y", stderr="mkdir: cannot create directory 'x/y': " + NONE, status=1),
    Case(BOTH, "mkdir -p x/y/z d ; find x", stdout="x\nx/y\nx/y/z\n"),
    Case(G, "mkdir -p a/y", stderr="mkdir: cannot create directory 'a': Not a directory\n", status=1),
    Case(BOTH, "mkdir -m 700 n ; stat -c %a n", stdout="700\n"),
    Case(BOTH, "mkdir -m zz n", stderr="mkdir: invalid mode 'zz'\n", status=1),
    # touch
    Case(BOTH, "touch n ; stat -c %s:%a n", stdout="0:644\n"),
    Case(BOTH, "touch -c n ; ls", stdout="a\nd\nl\n"),
    Case(BOTH, "touch -d @5 a ; stat -c %X:%Y a", stdout="5:5\n"),
    Case(BOTH, ["touch", "-d", "2021-02-03 04:05:06", "a", ";", "stat", "-c", "%y", "a"],
         stdout="2021-02-03 04:05:06.000000000 +0000\n"),
    Case(B, "touch no/x", stderr="touch: no/x: " + NONE, status=1),
    Case(G, "touch no/x", stderr="touch: cannot touch 'no/x': " + NONE, status=1),
    Case(G, "touch -d zz a", stderr="touch: invalid date format 'zz'\n", status=1),
    # rm
    Case(BOTH, "rm a l ; ls", stdout="d\n"),
    Case(BOTH, "rm -r d ; ls", stdout="a\nl\n"),
    Case(BOTH, "rm -f no"),
    Case(BOTH, "rm -f"),
    Case(B, "rm no", stderr="rm: can't remove 'no': " + NONE, status=1),
    Case(G, "rm no", stderr="rm: cannot remove 'no': " + NONE, status=1),
    Case(B, "rm d", stderr="rm: 'd' is a directory\n", status=1),
    Case(G, "rm d", stderr="rm: cannot remove 'd': Is a directory\n", status=1),
    Case(B, "rm -r .", stderr="rm: can't remove '.' or '..'\n", status=1),
    Case(
        G, "rm -r d/..", status=1,
        stderr="rm: refusing to remove '.' or '..' directory: skipping 'd/..'\n",
    ),
    Case(
        G, "rm -rf /", status=1,
        stderr="rm: it is dangerous to operate recursively on '/'\n"
        "rm: use --no-preserve-root to override this failsafe\n",
    ),
    Case(G, "rm", stderr="rm: missing operand\n" + TRY.format("rm"), status=1),
    # ln
    Case(BOTH, "ln -s a n ; stat -c %N n", stdout="'n' -> 'a'\n"),
    Case(BOTH, "ln a n ; stat -c %h n", stdout="2\n"),
    Case(BOTH, "ln -s a d ; stat -c %N d/a", stdout="'d/a' -> 'a'\n"),
    Case(BOTH, "ln -sf d l ; stat -c %N l", stdout="'l' -> 'd'\n"),
    Case(B, "ln -s a l", stderr="ln: l: File exists\n", status=1),
    Case(G, "ln -s a l", stderr="ln: failed to create symbolic link 'l': File exists\n", status=1),
    Case(G, "ln a l", stderr="ln: failed to create hard link 'l': File exists\n", status=1),
    Case(G, "ln no n", stderr="ln: failed to access 'no': " + NONE, status=1),
    Case(B, "ln no n", stderr="ln: no: " + NONE, status=1),
    Case(G, "ln d n", stderr="ln: d: hard link not allowed for directory\n", status=1),
    Case(BOTH, "ln -s d e ; ln -sfn a e ; stat -c %N e", stdout="'e' -> 'a'\n"),
    # cp
    Case(BOTH, "cp a n ; cat n ; stat -c %a n", stdout="one\ntwo\n640\n"),
    Case(BOTH, "cp a d ; ls d", stdout="a\nx\n"),
    Case(BOTH, "cp l n ; stat -c %F n", stdout="regular file\n"),
    Case(BOTH, "cp -p a n ; stat -c %Y:%U:%a n", stdout="1577836800:alice:640\n"),
    Case(BOTH, "cp -r d n ; find n", stdout="n\nn/x\n"),
    Case(BOTH, "cp -a l n ; stat -c %N n", stdout="'n' -> 'a'\n"),
    Case(BOTH, "cp a a", stderr="cp: 'a' and 'a' are the same file\n", status=1),
    Case(B, "cp no n", stderr="cp: can't stat 'no': " + NONE, status=1),
    Case(G, "cp no n", stderr="cp: cannot stat 'no': " + NONE, status=1),
    Case(B, "cp d n", stderr="cp: omitting directory 'd'\n", status=1),
    Case(G, "cp d n", stderr="cp: -r not specified; omitting directory 'd'\n", status=1),
    Case(B, "cp a no/n", stderr="cp: can't create 'no/n': " + NONE, status=1),
    Case(G, "cp a no/n", stderr="cp: cannot create regular file 'no/n': " + NONE, status=1),
    Case(G, "cp a l no", stderr="cp: target 'no': " + NONE, status=1),
    Case(G, "cp -r d d/e", stderr="cp: cannot copy a directory, 'd', into itself, 'd/e'\n", status=1),
    Case(G, "cp a", status=1,
         stderr="cp: missing destination file operand after 'a'\n" + TRY.format("cp")),
    # mv
    Case(BOTH, "mv a n ; ls", stdout="d\nl\nn\n"),
    Case(BOTH, "mv a d ; ls d", stdout="a\nx\n"),
    Case(BOTH, "mv a /mnt/b ; ls ; stat -c %a:%U /mnt/b", stdout="d\nl\n640:alice\n"),
    Case(BOTH, "mv d /mnt ; find /mnt", stdout="/mnt\n/mnt/d\n/mnt/d/x\n"),
    Case(B, "mv no n", stderr="mv: can't rename 'no': " + NONE, status=1),
    Case(G, "mv no n", stderr="mv: cannot stat 'no': " + NONE, status=1),
    Case(B, "mv a no/n", stderr="mv: can't rename 'a': " + NONE, status=1),
    Case(G, "mv a no/n", stderr="mv: cannot move 'a' to 'no/n': " + NONE, status=1),
    Case(B, "mv d d/e", stderr="mv: can't rename 'd': Invalid argument\n", status=1),
    Case(
        G, "mv d d/e", status=1,
        stderr="mv: cannot move 'd' to a subdirectory of itself, 'd/e'\n",
    ),
    Case(G, "mv a a", stderr="mv: 'a' and 'a' are the same file\n", status=1),
    # chmod, chown
    Case(BOTH, "chmod 600 a ; stat -c %a a", stdout="600\n"),
    Case(BOTH, "chmod u+x,o=r a ; stat -c %a a", stdout="744\n"),
    Case(BOTH, "chmod -r a ; stat -c %a a", stdout="200\n"),
    Case(BOTH, "chmod -R g=,o= d ; stat -c %a d d/x", stdout="700\n600\n"),
    Case(B, "chmod 600 no", stderr="chmod: no: " + NONE, status=1),
    Case(G, "chmod 600 no", stderr="chmod: cannot access 'no': " + NONE, status=1),
    Case(G, "chmod zz a", stderr="chmod: invalid mode: 'zz'\n" + TRY.format("chmod"), status=1),
    Case(B, "chmod zz a", stderr="chmod: invalid mode 'zz'\n", status=1),
    Case(G, "chmod 600", status=1,
         stderr="chmod: missing operand after '600'\n" + TRY.format("chmod")),
    Case(BOTH, "chown alice: a ; stat -c %u:%g a", stdout="1000:1000\n"),
    Case(BOTH, "chown 5:6 a ; stat -c %u:%g a", stdout="5:6\n"),
    Case(BOTH, "chown -R :daemon d ; stat -c %u:%g d/x", stdout="0:1\n"),
    Case(B, "chown bob a", stderr="chown: unknown user bob\n", status=1),
    Case(G, "chown bob a", stderr="chown: invalid user: 'bob'\n", status=1),
    # find
    Case(BOTH, "find", stdout=".\n./a\n./.h\n./l\n./d\n./d/x\n"),
    Case(BOTH, "find d -type f", stdout="d/x\n"),
    Case(BOTH, ["find", ".", "-maxdepth", "1", "-name", "[ad]"], stdout="./a\n./d\n"),
    Case(BOTH, "find . -name a -o -name x -print", stdout="./d/x\n"),
    Case(BOTH, "find d ! -name x", stdout="d\n"),
    Case(BOTH, ["find", "d", "-type", "f", "-exec", "basename", "{}", "\\;"], stdout="x\n"),
    Case(BOTH, "find d -delete ; ls", stdout="a\nl\n"),
    Case(B, "find no", stderr="find: no: " + NONE, status=1),
    Case(G, "find no", stderr="find: 'no': " + NONE, status=1),
    Case(G, "find . -zz", stderr="find: unknown predicate `-zz'\n", status=1),
    Case(B, "find . -zz", stderr="find: unrecognized: -zz\n" + USAGE.format("find"), status=1),
    Case(G, "find . -name", stderr="find: missing argument to `-name'\n", status=1),
    # sed
    Case(BOTH, "sed s/o/0/ a", stdout="0ne\ntw0\n"),
    Case(BOTH, "sed s/b*/x/g", "abc\n", "xaxcx\n"),
    Case(BOTH, ["sed", r"s/\(.\)\(.\)/[&:\2\1]/2"], "abcd\n", "ab[cd:dc]\n"),
    Case(BOTH, ["sed", "-E", "s|(a+)|<\\1>|gI"], "aAba\n", "<aA>b<a>\n"),
    Case(BOTH, ["sed", "-n", "2p"], "1\n2\n3\n", "2\n"),
    Case(BOTH, ["sed", "-n", "$p"], "1\n2\n3\n", "3\n"),
    Case(BOTH, ["sed", "2,3d"], "1\n2\n3\n4\n", "1\n4\n"),
    Case(BOTH, ["sed", "-n", "/b/,/c/p"], "a\nb\nx\nc\nd\n", "b\nx\nc\n"),
    Case(BOTH, ["sed", "-e", "s/a/b/", "-e", "s/b/c/p"], "a\n", "c\nc\n"),
    Case(BOTH, ["sed", "/b/!d"], "a\nb\n", "b\n"),
    Case(BOTH, "sed -i s/one/1/ a ; cat a ; stat -c %a:%U a", stdout="1\ntwo\n640:alice\n"),
    Case(G, "sed p no", stderr="sed: can't read no: " + NONE, status=2),
    Case(B, "sed p no", stderr="sed: no: " + NONE, status=1),
    Case(G, "sed s/a", stderr="sed: -e expression #1, char 3: unterminated `s' command\n", status=1),
    Case(B, "sed s/a", stderr="sed: unmatched '/'\n", status=1),
    Case(G, "sed k", stderr="sed: -e expression #1, char 1: unknown command: `k'\n", status=1),
    Case(B, "sed k", stderr="sed: unsupported command k\n", status=1),
    # awk
    Case(BOTH, ["awk", "{print $2}"], " a  b\tc\n", "b\n"),
    Case(BOTH, ["awk", "-F:", "{print $1, $NF}"], "a:b:c\n", "a c\n"),
    Case(BOTH, ["awk", '/x/ {print $1 "-" NR}'], "ax\nb\ncx\n", "ax-1\ncx-3\n"),
]  # fmt: skip


@pytest.fixture
def make_guest() -> Make:
    """Make a guest with a few files in /w."""

    def make(userland: Userland) -> Guest:
        files: dict[str, str | FileSettings | None] = {
            "/w/a": FileSettings(
                text="one\ntwo\n", mode="0640", owner="1000:100", mtime=1_577_836_800 * SECOND
            ),
            "/w/.h": "",
            "/w/l": FileSettings(symlink="a"),
            "/w/d/x": "x\n",
            "/etc/group": "root:x:0:\ndaemon:x:1:\nusers:x:100:\n",
        }
        settings = GuestSettings(
            os=OsSettings(userland=userland),
            files=files,
            users={
                "root": Account(uid=0, gid=0, home="/root"),
                "alice": Account(uid=1000, gid=1000, home="/home/alice"),
            },
            mounts=[
                MountSettings(device="/dev/vda1", path="/"),
                MountSettings(device="/dev/vdb1", path="/mnt", type="tmpfs"),
            ],
        )
        return Guest(settings, USERLANDS[settings.os.userland], source=lambda: 0)

    return make


def steps(argv: str | Sequence[str]) -> list[list[str]]:
    """Take a script apart."""
    words = argv.split() if isinstance(argv, str) else argv
    groups = itertools.groupby(words, lambda word: word == ";")
    return [list(group) for is_end, group in groups if not is_end]


PARAMETERS = [
    pytest.param(userland, case, id=f"{userland}-{case.argv}")
    for case in CASES
    for userland in ([case.userland] if isinstance(case.userland, str) else case.userland)
]


@pytest.mark.parametrize(("userland", "case"), PARAMETERS)
def test_file_programs_say_what_real_ones_do(
    make_guest: Make, run: Run, userland: Userland, case: Case
) -> None:
    guest = make_guest(userland)
    out = errors = b""
    status = None
    for argv in steps(case.argv):
        words = [";" if word == "\\;" else word for word in argv]
        output, complaints, how = run(guest, words, case.stdin.encode(), cwd="/w")
        out, errors, status = out + output, errors + complaints, how.code
    assert (out.decode(), errors.decode(), status) == (case.stdout, case.stderr, case.status)


def test_stat_shows_everything(make_guest: Make, run: Run) -> None:
    out = run(make_guest("gnu"), ["stat", "a"], cwd="/w")[0].decode()
    lines = out.splitlines()
    assert lines[:2] == [
        "  File: a",
        "  Size: 8         \tBlocks: 8          IO Block: 4096   regular file",
    ]
    assert lines[3:6] == [
        "Access: (0640/-rw-r-----)  Uid: ( 1000/   alice)   Gid: (  100/   users)",
        "Access: 2020-01-01 00:00:00.000000000 +0000",
        "Modify: 2020-01-01 00:00:00.000000000 +0000",
    ]
    out = run(make_guest("busybox"), ["stat", "l"], cwd="/w")[0].decode()
    assert out.startswith("  File: 'l' -> 'a'\n  Size: 1         \tBlocks: 0 ")


def test_a_copy_of_a_hole_is_a_hole(make_guest: Make, run: Run) -> None:
    guest = make_guest("gnu")
    guest.files.write("/w/n", b"")
    guest.files.truncate("/w/n", 1 << 40)
    run(guest, ["cp", "/w/n", "/w/m"])
    assert run(guest, ["stat", "-c", "%s:%b", "/w/m"])[0] == b"1099511627776:0\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["rm", "a"], ["mkdir", "n"], ["touch", "n"], ["cp", "a", "n"], ["mv", "a", "n"],
        ["ln", "a", "n"], ["chmod", "1", "a"], ["chown", "1", "a"],
        ["sed", "-i", "p", "a"], ["find", "a", "-delete"],
    ],
    ids=lambda argv: str(argv[0]),
)  # fmt: skip
def test_a_frozen_guest_makes_them_wait(make_guest: Make, run: Run, argv: list[str]) -> None:
    guest = make_guest("gnu")
    volume = guest.volumes["/dev/vda1"]
    volume.is_frozen = True
    with pytest.raises(AssertionError, match="has not ended"):
        run(guest, argv, cwd="/w")


def test_a_running_program_is_replaced_by_force(make_guest: Make, run: Run) -> None:
    guest = make_guest("gnu")
    argv = ["env", "cp", "/w/a", "/usr/bin/cp"]
    assert run(guest, argv)[1] == (
        b"cp: cannot create regular file '/usr/bin/cp': Text file busy\n"
    )
    argv = ["cp", "-f", "/w/a", "/usr/bin/cp"]
    assert run(guest, argv)[2].code == 0
    assert guest.files.read("/usr/bin/cp") == b"one\ntwo\n"


def test_a_program_makes_files_by_the_umask_of_the_shell_that_starts_it(run: Run) -> None:
    # dash and coreutils 9.1 of Debian 12.
    script = """
        cd /tmp; umask 077; touch f1; mkdir d1; mkdir -p d2/a; echo x > f2
        cp f1 f3; cp /bin/true f4; echo > f8
        mkdir -m 755 d3; cp -p /bin/true f9; touch f10; chmod +x f10; chmod =r f2; (umask 27; touch f11)
        sh -c 'touch f12'; stat -c '%n %a' f* d* d2/a; umask 0; mkdir d4; touch f13; stat -c '%n %a' d4 f13
    """
    modes = """
        f1 600 f10 700 f11 640 f12 600 f2 400 f3 600 f4 700 f8 600 f9 755
        d1 700 d2 700 d3 755 d2/a 700 d4 777 f13 666
    """
    out = run(Course("debian-12").guest, ["sh", "-c", script])[0].decode()
    assert out.split() == modes.split()
