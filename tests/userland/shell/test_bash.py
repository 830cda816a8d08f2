"""bash: what it has as bash has it, and one clear line for what is not simulated."""

from typing import TYPE_CHECKING

import pytest

from qgasim.guest.processes.process import Exit

if TYPE_CHECKING:
    from tests.userland.shell.conftest import Machine

REFUSED = [
    ("a=(1 2)", "arrays"),
    ("a[0]=1", "arrays"),
    ("echo ${a[0]}", "arrays"),
    ("echo ${#a[@]}", "arrays"),
    ("[[ foo =~ o ]]", "=~"),
    ("[[ a < b ]]", "( < and > in [["),
    ("cat <(echo a)", "<(...)"),
    ("echo {a,b}", "brace expansion"),
    ("for x in {a,b}; do :; done", "brace expansion"),
    ("((echo a); (echo b))", "(( that is no arithmetic"),
    ("echo {1..3}", "brace expansion"),
    ("for ((i=0;i<2;i++)); do :; done", "for ((...))"),
    ("select x in a; do :; done", "select"),
    ("time true", "time"),
    ("coproc cat", "coproc"),
    ("x+=1", "name+="),
    ("echo ${x^^}", "${name^}"),
    ("echo ${!x}", "${!name}"),
    ("echo a |& cat", "|&"),
    ("echo a &>> f", "&>>"),
    ('echo $"a"', '$"..."'),
    ("declare x=1", "declare"),
    ("mapfile x", "mapfile"),
    ("shopt -s nullglob", "shopt"),
    ("f() { local -a x; }; f", "local: -a"),
]

#: Expected output: bash 5.2.15.
SAME = [
    ("nosuch", "", "bash: line 1: nosuch: command not found\n", 127),
    ("cat <<< 'a  b'", "a  b\n", "", 0),
    ("x=foo; echo ${x//o/0} ${x:1:1}", "f00 o\n", "", 0),
    ("echo $'a\\tb'", "a\tb\n", "", 0),
    ("((1 + 1)) && echo yes", "yes\n", "", 0),
    ("set -o pipefail; false | true", "", "", 1),
    ("[[ foo == f* && -n x ]]; echo $?", "0\n", "", 0),
    ("function f { echo $1; }; f a", "a\n", "", 0),
    ("cd /nonexistent", "", "bash: line 1: cd: /nonexistent: No such file or directory\n", 1),
    ("set -u; echo $x", "", "bash: line 1: x: unbound variable\n", 127),
    ("echo $((08)); echo x", "", 'bash: line 1: 08: value too great for base (error token is "08")\n', 1),
    ("echo $((1 + ))\necho $?", "1\n",
     'bash: line 1: 1 + : syntax error: operand expected (error token is "+ ")\n', 0),
    ("[ a b ]; echo $?", "2\n", "bash: line 1: [: a: unary operator expected\n", 0),
    ("fi", "", "bash: -c: line 1: syntax error near unexpected token `fi'\nbash: -c: line 1: `fi'\n", 2),
    ("export 1x; echo $?", "1\n", "bash: line 1: export: `1x': not a valid identifier\n", 0),
    ("if true", "", "bash: -c: line 2: syntax error: unexpected end of file\n", 2),
    ("set -x; x=1 echo 'a b'", "a b\n", "+ x=1\n+ echo 'a b'\n", 0),
    ("cat < /nonexistent", "", "bash: line 1: /nonexistent: No such file or directory\n", 1),
]  # fmt: skip


@pytest.mark.parametrize(("script", "construct"), REFUSED)
def test_bash_names_the_construct_that_is_not_simulated(
    machine: "Machine", script: str, construct: str
) -> None:
    p = machine.run("bash", "-c", script)
    message = "qgasim does not simulate this; give the command its result under programs:"
    assert machine.output(2) == f"bash: line 1: {construct}: {message}\n"
    assert p.exit == Exit(2)
    assert machine.output() == ""


@pytest.mark.parametrize(("script", "stdout", "stderr", "status"), SAME)
def test_bash_does_what_bash_does(
    machine: "Machine", script: str, stdout: str, stderr: str, status: int
) -> None:
    p = machine.run("bash", "-c", script)
    assert (machine.output(), machine.output(2), p.exit) == (stdout, stderr, Exit(status))


@pytest.mark.parametrize(
    ("argv", "read"),
    [
        # INVOCATION of bash(1), and of dash(1).
        (("bash", "-lc", "echo $x"), "system bash"),
        (("bash", "--login", "-c", "echo $x"), "system bash"),
        (("bash", "--noprofile", "-lc", "echo $x"), ""),
        (("bash", "-c", "echo $x"), ""),
        (("sh", "-lc", "echo $x"), "system all"),
    ],
)
def test_a_login_shell_reads_profiles(machine: "Machine", argv: tuple[str, ...], read: str) -> None:
    files = machine.guest.files
    files.makedirs("/etc")
    files.makedirs("/root")
    files.write("/etc/profile", b"x=system HOME=/root\n")
    files.write("/root/.bash_profile", b'x="$x bash"\n')
    files.write("/root/.profile", b'x="$x all"\n')
    machine.run(*argv)
    assert machine.output() == f"{read}\n"
