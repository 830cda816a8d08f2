"""A generator of harmless shell scripts: a closed vocabulary, put together by a seed."""

import re
from random import Random
from typing import Final

__all__ = ["Generator"]

VARIABLES: Final = ("x", "y", "z", "e", "n")
LITERALS: Final = (
    "a",
    "b",
    "foo",
    "two",
    "1",
    "2",
    "-1",
    "010",
    "0x1F",
    "a:b",
    "é",
    "-n",
    "-e",
    "--",
    "b.txt",
    "d",
    "none",
    "=",
    "x=1",
    "a-b",
    "%",
    "1.5",
)
GLOBS: Final = (
    "*",
    "*.txt",
    "[ab]",
    "?",
    "d/*",
    "[!a]",
    "[^a]",
    "no*",
    "[a-c]*",
    "*[",
    "\\*",
    ".*x",
)
PATTERNS: Final = (
    "*",
    "a*",
    "?",
    "*o",
    "[a-f]*",
    "f*o",
    "\\*",
    "''",
    '"*"',
    "[!a]*",
    "[[:digit:]]*",
    "o",
    "*:",
    ":*",
    "foo",
)
TEST_UNARY: Final = ("-n", "-z", "-e", "-f", "-d", "-s", "-r", "-h", "!", "-x", "-t")
TEST_BINARY: Final = (
    "=",
    "!=",
    "-eq",
    "-ne",
    "-lt",
    "-ge",
    "-nt",
    "-ot",
    "-ef",
    "-a",
    "-o",
    "-gt",
    "-le",
)
PRINTF_FORMATS: Final = (
    "%s\\n",
    "%d\\n",
    "%5s|",
    "%-5s|\\n",
    "%05d\\n",
    "%x\\n",
    "%o,",
    "%c\\n",
    "%b\\n",
    "%%\\n",
    "%.2s|\\n",
    "%+d\\n",
    "\\101\\n",
    "a\\tb\\n",
    "%s %s\\n",
    "%q",
    "%z\\n",
    "%*d|\\n",
    "%i\\n",
    "%u\\n",
    "\\x41\\n",
    "%.1f\\n",
    "%e\\n",
    "%X\\n",
    "\\c",
    "x",
    "%s",
    "\\0101\\n",
    "\\e",
    "%#x\\n",
    "% d\\n",
)
ECHO_TEXTS: Final = (
    "'a\\tb'",
    "'a\\nb'",
    "'\\101'",
    "'\\0101'",
    "'a\\cb'",
    "'\\x41'",
    "'a\\\\b'",
    "'\\e'",
    "-n",
    "-e",
    "-ne",
    "'\\07'",
    "'end\\'",
)
ARITHMETIC: Final = (
    "+",
    "-",
    "*",
    "/",
    "%",
    "<",
    ">",
    "==",
    "!=",
    "<<",
    ">>",
    "&",
    "|",
    "^",
    "&&",
    "||",
    "<=",
    ">=",
)
SYNTAX: Final = (
    ";",
    "&&",
    "||",
    "|",
    "&",
    ")",
    "(",
    "fi",
    "then",
    "done",
    "do",
    "esac",
    ";;",
    "}",
    "{",
    "if",
    "while",
    "case",
    "in",
    "'",
    '"',
    "`",
    "$(",
    "${",
    "<",
    ">",
    "<<E",
    "!",
    "else",
    "\n",
    "for",
    "${x",
    "$((",
    "until",
    "elif",
)
PROGRAM_CALLS: Final = (
    "cat a", "cat none", "cat -n a", "cat a b.txt", "wc -l a", "wc a", "wc -c <a", "head -n 1 a", "head -2 b.txt", "tail -n 1 a", "tail -n +2 a",
    "sort b.txt", "sort -n b.txt", "sort -r b.txt", "sort -u b.txt", "sort -k2 b.txt", "sort -su a", "cut -d: -f2 a", "cut -c1-3 a", "tr a-z A-Z <a", "tr -d o <a",
    "grep two a", "grep -c two a", "grep -v two a", "grep -n o a", "grep -i TWO a", "grep -q two a", "grep zzz a", "grep x none", "seq 3", "seq 1 2 5", "seq 3 -1 1",
    "basename /a/b.txt .txt", "dirname /a/b", "basename a", "dirname a", "ls", "ls d", "ls none", "mkdir q", "mkdir d", "cat d/c", "grep -E 'o|x' a",
    "sort -t: -k1 a", "head -c 3 a", "wc -w a b.txt", "env -i", "grep -l two a b.txt", "grep -o o a", "cut -f1 a", "cut -d ' ' -f 1 a", "tr -s o <a", "sort -rk1 b.txt", "ls -1 a b.txt", "nosuch", "./a", "./none", "d", "/", "seq 0", "tail -c 3 a", "sort -nr b.txt",
)  # fmt: skip
BASH_WORDS: Final = (
    "${x//a/b}",
    "${x/o/0}",
    "${x:1}",
    "${x:0:2}",
    "${x#?}",
    "$'a\\tb'",
    "{a,b}",
    "${x^^}",
    "{1..3}",
    "${!x}",
)


class Generator:
    """Makes one script after the other; *shell* says which constructs it may use."""

    def __init__(self, random: Random, shell: str) -> None:
        self.random = random
        self.shell = shell
        self.has_function = False
        self.in_function = False
        self.loops = 0

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def script(self) -> str:
        """Return a script."""
        lines = [self.statement(2) for _ in range(self.random.randint(1, 4))]
        if self.chance(60):
            lines.insert(
                0,
                self.pick(
                    "x=foo",
                    "x='a b'",
                    "set -- a 'b c' d",
                    "x=10 y=3",
                    "e=",
                    "IFS=:",
                    "set -u",
                    "set -e",
                    "set -f",
                    "x='*'",
                    "x=a:b::c",
                    "set -x",
                    "x=' a  b '",
                    "IFS=",
                    "set --",
                ),
            )
        text = self.pick("\n", "; ", "\n").join(lines)
        if "<<" in text:
            text = "\n".join(lines)
        if self.chance(12):
            text = self.mutate(text)
        return text

    def mutate(self, text: str) -> str:
        """Drop, double or insert a token."""
        tokens = re.findall(r"\s+|\w+|.", text)
        at = self.random.randrange(len(tokens))
        match self.pick("drop", "double", "insert", "insert"):
            case "drop":
                del tokens[at]
            case "double":
                tokens.insert(at, tokens[at])
            case _:
                tokens.insert(at, f" {self.pick(*SYNTAX)} ")
        return "".join(tokens)

    # -- words -------------------------------------------------------------------------------

    def name(self) -> str:
        return self.pick(*VARIABLES)

    def number(self) -> str:
        return self.pick("0", "1", "2", "3", "7", "10", "010", "0x1f", "-1", "5")

    def expression(self, depth: int = 2) -> str:
        if depth == 0 or self.chance(30):
            return self.pick(self.number(), self.name(), "$" + self.name(), "x=2", self.number())
        kind = self.random.randrange(10)
        if kind == 0:
            return f"({self.expression(depth - 1)})"
        if kind == 1:
            return f"{self.pick('!', '~', '-', '+')}{self.expression(depth - 1)}"
        if kind == 2:
            return f"{self.expression(depth - 1)}?{self.expression(0)}:{self.expression(0)}"
        if kind == 3:
            return f"{self.name()}{self.pick('=', '+=', '*=', '-=')}{self.expression(depth - 1)}"
        return f"{self.expression(depth - 1)} {self.pick(*ARITHMETIC)} {self.expression(depth - 1)}"

    def parameter(self, depth: int) -> str:
        name = self.pick(self.name(), self.name(), self.name(), "1", "@", "*", "#", "?", "2", "0")
        kind = self.random.randrange(10)
        if kind < 4:
            return f"${name}"
        if kind == 4:
            return f"${{{name}}}"
        if kind == 5:
            return f"${{#{self.name()}}}"
        if kind < 8:
            operator = self.pick("-", ":-", "+", ":+", "=", ":=", "?", ":?")
            return f"${{{name}{operator}{self.word(depth - 1) if depth else self.pick('', 'w', 'a b')}}}"
        return f"${{{self.name()}{self.pick('#', '##', '%', '%%')}{self.pick(*PATTERNS)}}}"

    def word(self, depth: int = 1) -> str:
        kind = self.random.randrange(20)
        if kind < 6:
            return self.pick(*LITERALS)
        if kind < 9:
            return self.parameter(depth)
        if kind < 12:
            return f'"{self.parameter(depth)}"'
        if kind == 12:
            return self.pick(*GLOBS)
        if kind == 13:
            return self.pick(
                "'a b'",
                '"a  b"',
                "''",
                '""',
                "'$x'",
                "\\$x",
                "a\\ b",
                '"\\$x"',
                "'a\"b'",
                '"it\'s"',
            )
        if kind == 14:
            return f"$(({self.expression()}))"
        if kind == 15 and depth:
            return f"$({self.simple(0)})"
        if kind == 16 and depth:
            return f'"$({self.simple(0)})"'
        if kind == 17 and depth:
            return f"`echo {self.pick(*LITERALS)}`"
        if kind == 18:
            return self.pick("~", "~/x", "a~", "~nosuch", *(BASH_WORDS if self.chance(30) else ()))
        return f"{self.word(0)}{self.word(0)}" if depth else self.pick(*LITERALS)

    def words(self, low: int, high: int) -> str:
        return " ".join(self.word() for _ in range(self.random.randint(low, high)))

    # -- commands ----------------------------------------------------------------------------

    def condition(self) -> str:
        kind = self.random.randrange(8)
        if kind < 3:
            inner = f"{self.word(0)} {self.pick(*TEST_BINARY)} {self.word(0)}"
        elif kind < 6:
            inner = f"{self.pick(*TEST_UNARY)} {self.word(0)}"
        elif kind == 6:
            inner = self.words(0, 4)
        else:
            inner = f"! {self.word(0)} = {self.word(0)} {self.pick('-a', '-o')} -n {self.word(0)}"
        return (
            f"test {inner}"
            if self.chance(30)
            else f"[ {inner} ]"
            if self.chance(97)
            else f"[ {inner}"
        )

    def builtin(self) -> str:  # noqa: PLR0912 -- a table of kinds
        kind = self.random.randrange(24)
        name, word = self.name(), self.word(0)
        match kind:
            case 0 | 1:
                return f"printf '{self.pick(*PRINTF_FORMATS)}' {self.words(0, 3)}"
            case 2:
                return f"echo {' '.join(self.pick(*ECHO_TEXTS) for _ in range(self.random.randint(1, 3)))}"
            case 3:
                return self.pick(
                    "cd d",
                    "cd d; cd ..",
                    "cd none",
                    "cd",
                    "cd -",
                    "cd a",
                    "pwd",
                    "cd d; pwd",
                    "cd ''",
                    "cd d d",
                    "cd -P d",
                    "pwd -P",
                )
            case 4:
                return self.pick(
                    f"export {name}={word}",
                    f"export {name}",
                    "export 1x",
                    f"readonly {name}=r",
                    f"unset {name}",
                    "unset 1x",
                    "unset -f f",
                    f"export -n {name}",
                    "unset -z x",
                    "readonly 1",
                )
            case 5:
                return self.pick(
                    "shift",
                    "shift 2",
                    "shift 9",
                    "shift x",
                    "shift -1",
                    "set -- $x",
                    "set a b",
                    "set -z",
                    "set -o none",
                    "set +e",
                    "set +u",
                    "set - q",
                    "set -o pipefail",
                )
            case 6:
                flag = self.pick("", "-r ", "", "-z ", "-p q ", "-n 1 ", "-d x ")
                return f'read {flag}{self.pick("x", "x y", "x y z", "1x", "")} <{self.pick("a", "b.txt", "none", "/dev/null")}; echo "$?[$x][$y]"'
            case 7:
                line = self.pick(" a  b c ", "a:b:c", "a b", ":a:", r"a\\\\ b c", "")
                names = self.pick("x", "x y", "x y z")
                read = f"{self.pick('', 'IFS=: ')}read {self.pick('', '-r ')}{names}"
                return f"printf '{line}\\n' | {{ {read}; echo \"[$x][$y][$z]\"; }}"
            case 8:
                return f'getopts {self.pick("ab:", ":ab:", "a", "b:")} o {self.pick("-a", "-b v", "-b", "-x", "-ab", "w", "--", "-bv")}; echo "$? $o $OPTARG $OPTIND"'
            case 9:
                return self.pick(
                    "type echo",
                    "type nosuch",
                    "type cat",
                    "type if",
                    "type set",
                    "command -v echo",
                    "command -v cat",
                    "command -v nosuch",
                    "command -V nosuch",
                    "command -v if",
                    "command echo a",
                    "command nosuch",
                    "type f",
                    "command -V echo",
                    "command cat a",
                    "command -V if",
                    "command -V set",
                    "hash nosuch",
                    "command",
                    "type",
                    "command -x",
                )
            case 10:
                return self.pick(
                    "umask",
                    "umask 077",
                    "umask -S",
                    "umask 022",
                    "umask x",
                    "umask 888",
                    "umask u=rwx,g=,o=",
                    "umask 077; mkdir q; umask",
                )
            case 11:
                return f"eval {self.pick('echo', 'echo $x', '', 'x=3', 'nosuch', '(', 'false', 'echo a;', 'fi', ':')} {word if self.chance(40) else ''}"
            case 12:
                return self.pick(
                    "trap 'echo bye' EXIT",
                    "trap 'echo bye $?' 0",
                    "trap - EXIT",
                    "trap '' INT",
                    "trap",
                    "trap 'x' NOSUCH",
                    "trap 'echo t' TERM; trap",
                    "trap -z",
                )
            case 13:
                return self.pick(
                    ". ./lib",
                    ". ./none",
                    ". lib",
                    ". ./lib q",
                    "source ./lib",
                    ". a/b",
                    ".",
                    ". none",
                )
            case 14:
                if self.chance(30):
                    return self.pick(
                        "exit",
                        "exit 3",
                        "exit x",
                        "exit -1",
                        "exit 300",
                        "exit 1 2",
                        "return 4",
                        "return",
                        "return x",
                    )
                return f"echo {self.words(1, 3)}"
            case 15:
                return (
                    self.pick(
                        "break",
                        "continue",
                        "break 2",
                        "continue 2",
                        "break 0",
                        "break x",
                        "continue x",
                    )
                    if self.loops and self.chance(60)
                    else "break"
                )
            case 16:
                return self.pick(
                    "alias q=echo",
                    "alias",
                    "alias nosuch",
                    "unalias q",
                    "alias q",
                    "unalias -a",
                    "alias q='echo a'; q b",
                )
            case 17:
                return self.pick(
                    "wait",
                    "wait 99999",
                    "jobs",
                    "exec",
                    "exec nosuch",
                    "exec echo x",
                    "times >/dev/null",
                    "true &",
                    "wait %1",
                    "fg",
                    "bg",
                    "exec ./a",
                    "exec -z",
                )
            case 18:
                return (
                    self.pick(
                        "local x=1",
                        "local",
                        "local y",
                        "let x=1",
                        "let",
                        "declare x=1",
                        "ulimit -z",
                        "echo $-",
                        "history >/dev/null",
                        "shopt -s nullglob",
                        "typeset x",
                        "pushd d",
                        "let 1+",
                        "help >/dev/null",
                        "mapfile t <a",
                        "builtin echo a",
                        "printf",
                        "printf -v x a",
                    )
                    if self.in_function or self.chance(40)
                    else "echo $LINENO"
                )
            case 19:
                return self.pick(
                    "a=(1 2)",
                    "[[ a == a ]]",
                    "[[ $x = f* ]]",
                    "[[ -n $x && a < b ]]",
                    "((x=1+2))",
                    "((0))",
                    "cat <<<w",
                    "echo a &>f; cat f",
                    "function g { echo g; }",
                    "[[ foo =~ o ]]",
                    "echo $'a\\tb'",
                    "echo {a,b}",
                    "echo {1..3}",
                    "echo ${x//o/0}",
                    "x+=1",
                    "echo a |& cat",
                    "cat <(echo a)",
                    "echo ${x:1:2}",
                    "for ((i=0;i<2;i++)); do echo $i; done",
                    "select x in a; do break; done",
                    "[[ a",
                    "echo $RANDOM | grep -c .",
                    "echo ${x^}",
                    'echo $"a"',
                    "echo a >&f; cat f",
                    "coproc cat",
                    "cat <<-E\n\tq\n\tE\n",
                )
            case _:
                return f"echo {self.words(1, 4)}"

    def simple(self, depth: int) -> str:
        kind = self.random.randrange(14)
        if kind < 4:
            text = f"echo {' '.join(self.word(depth) for _ in range(self.random.randint(0, 3)))}"
        elif kind < 8:
            text = self.builtin()
        elif kind == 8:
            text = f"{self.name()}={self.word(depth)}"
        elif kind == 9:
            text = f"{self.name()}={self.word(0)} {self.pick('env -i', 'echo $x', ':', 'eval echo $x', 'true', 'export y', f'echo {self.word(0)}')}"
        elif kind == 10:
            text = self.condition() + self.pick("", "; echo $?")
        elif kind == 11 and self.has_function and not self.in_function:
            text = f"f {self.words(0, 2)}"
        else:
            text = self.pick(*PROGRAM_CALLS)
        if self.chance(10) and "<<" not in text:
            text += self.pick(
                " >f",
                " 2>/dev/null",
                " >>f",
                " 2>&1",
                " <a",
                " >none/f",
                " <none",
                " >&9",
                " >d",
                " 3>f",
                " >&2",
                " <&-",
                " 2>f; cat f",
                " >&-",
                " <&7",
                ' >"$e"',
                " >|f",
                " <>f",
                " >$x",
            )
        return text

    def statement(self, depth: int) -> str:  # noqa: PLR0912 -- a table of kinds
        kind = self.random.randrange(22)
        if depth == 0 or kind < 9:
            return self.simple(1)
        match kind:
            case 9 | 10:
                rest = self.pick(
                    "",
                    f"else {self.statement(depth - 1)}",
                    f"elif {self.condition()}; then {self.statement(0)}",
                )
                return f"if {self.condition()}; then\n{self.statement(depth - 1)}\n{rest}\nfi"
            case 11 | 12:
                self.loops += 1
                body = self.statement(depth - 1)
                self.loops -= 1
                return f"for {self.name()} in {self.words(0, 3)}; do\n{body}\ndone"
            case 13:
                self.loops += 1
                body = self.statement(depth - 1)
                self.loops -= 1
                counter = self.pick("i", "j")
                return f"{counter}=0; while [ ${counter} -lt 2 ]; do {counter}=$(({counter}+1))\n{body}\ndone"
            case 14:
                return f"case {self.word()} in {self.pick(*PATTERNS)}) {self.simple(0)}\n;; {self.pick(*PATTERNS)}|{self.pick(*PATTERNS)}) echo second;; *) echo rest;; esac"
            case 15:
                self.in_function = True
                body = self.statement(depth - 1)
                self.in_function = False
                self.has_function = True
                return f"f() {{ {body}\n}}\nf {self.words(0, 2)}"
            case 16:
                return f"({self.statement(depth - 1)}\n)"
            case 17:
                return f"{{ {self.statement(depth - 1)}\n}}{self.pick('', '', ' >f', ' 2>&1', ' 2>/dev/null', ' >none/f')}"
            case 18:
                left, right = self.simple(0), self.simple(0)
                if "<<" in left:
                    left = "true"
                return f"{left} {self.pick('&&', '||')} {right}"
            case 19:
                left = self.simple(0).replace("<<", "<")
                return f"{left} | {self.pick('cat', 'wc -l', 'sort', 'grep -c .', 'tr a b', 'head -n 1', 'cat -n', 'tail -n 1', 'sed s/a/b/', 'while read l; do echo $l; done')}"
            case 20:
                quote = self.pick("", "", "'")
                return f"cat <<{quote}E{quote}\n{self.pick('$x', 'a $((1+1)) $(echo q)', '`echo k`', '${x:-d}', 'plain', chr(34) + '$x' + chr(34), '$1$*')}\nE"
            case _:
                return f"! {self.simple(0)}"
