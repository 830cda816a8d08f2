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
    ("printf -v x a", "printf: -v"),
    ("printf %q a", "printf: %q"),
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
    ("cat < /nonexistent", "", "bash: line 1: /nonexistent: No such file or directory\n", 1),
]


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
