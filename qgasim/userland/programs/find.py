"""The program find. Directories are read in the order in which their entries were made."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn, TypeAlias

from msgspec import Struct

from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import is_known, not_simulated, usage_error
from qgasim.userland.programs.lstat import Inode, base_name, join, look, node_kind
from qgasim.userland.programs.messages import (
    complain,
    explain,
    fail,
    is_busybox,
    pick,
    quote,
    quote_text,
)
from qgasim.userland.programs.registry import program
from qgasim.userland.shell.patterns import matches

__all__: list[str] = []


class File(Struct):
    """A file that was found, under the name by which it was found."""

    path: str
    inode: Inode


Judge: TypeAlias = Callable[[File], bool]


def _name(p: Process, pattern: str) -> Judge:
    return lambda file: matches(pattern, base_name(file.path))


def _folded_name(p: Process, pattern: str) -> Judge:
    return lambda file: matches(pattern.lower(), base_name(file.path).lower())


def _type(p: Process, kinds: str) -> Judge | None:
    several = [kinds] if is_busybox(p) else kinds.split(",")
    known = all(len(kind) == 1 and kind in "fdlpcbs" for kind in several)
    return (lambda file: node_kind(file.inode.mode) in kinds.split(",")) if known else None


#: The tests: each makes a judge of its name and argument, None if the argument is wrong.
MAKERS: Final[dict[str, Callable[[Process, str], Judge | None]]] = {
    "-name": _name, "-iname": _folded_name, "-type": _type,
}  # fmt: skip


def find_reason(word: str, text: str) -> str:
    """Return what GNU's find says about *text*, which is no argument for *word*."""
    if word == "-maxdepth":
        return f"Expected a positive decimal integer argument to {word}, but got {quote_text(text)}"
    if not text:
        return "Arguments to -type should contain at least one letter"
    if all(kind and kind[0] in "fdlpcbs" for kind in text.split(",")):
        return "Must separate multiple arguments to -type using: ','"
    if text.endswith(",") and text[:1] in "fdlpcbs":
        return "Last file type in list argument to -type is missing, i.e., list is ending on: ','"
    return f"Unknown argument to -type: {text}"


#: Judges a file, or does something with it.
_Test = Callable[[File], Waiting[bool]]
#: UNVERIFIED: that Alpine's BusyBox has -delete. Debian's is built without.
_ACTIONS: Final = frozenset({"-print", "-exec", "-delete"})


@program("find")
def find(p: Process) -> Steps:
    """Search directories for files."""
    words = p.argv[1:]
    count = next(
        (i for i, w in enumerate(words) if w in ("!", "(") or (w[:1] == "-" and w != "-")),
        len(words),
    )
    paths = words[:count] or ["."]
    finder = _Finder(p, words[count:])
    test = yield from finder.parse()
    for path in paths:
        yield from finder.walk(path, path, 0, test)
    return finder.status


class _Finder:
    def __init__(self, p: Process, words: list[str]) -> None:
        self.p = p
        self.words = words
        self.status = 0
        self.max_depth = 1 << 30
        self.depth_first = False
        self.acts = False

    # -- walking -------------------------------------------------------------------------------

    def walk(self, path: str, shown: str, depth: int, test: _Test) -> Waiting[None]:
        p = self.p
        try:
            inode = look(p, path, follow=False)
        except OSError as error:
            yield from self.complain(shown, error)
            return
        file = File(shown, inode)
        if not self.depth_first:
            yield from test(file)
        if inode.is_dir and depth < self.max_depth:
            try:
                names = yield from p.call(p.guest.files.listdir, path, p.cwd)
            except OSError as error:
                yield from self.complain(shown, error)
                names = []
            for name in names:
                yield from self.walk(join(path, name), join(shown, name), depth + 1, test)
        if self.depth_first:
            yield from test(file)

    def complain(self, path: str, error: OSError, verb: str = "") -> Waiting[None]:
        self.status = 1
        text = pick(self.p, path, f"{verb}{quote(path)}")
        return complain(self.p, f"{text}: {explain(error)}")

    # -- the expression ------------------------------------------------------------------------

    def parse(self) -> Waiting[_Test]:
        test = (yield from self._any()) if self.words else _always
        if self.words:
            text = f"paths must precede expression: `{self.words[0]}'"
            if self.words[0] == ")":
                text = "you have too many ')'"
            yield from self._refuse_word(self.words[0], text)
        if self.acts:
            return test
        return partial(_both, test, self._print)

    def _any(self, after: str = "") -> Waiting[_Test]:
        test = yield from self._all(after)
        while self.words and self.words[0] in ("-o", "-or"):
            other = yield from self._all(self.words.pop(0))
            test = partial(_either, test, other)
        return test

    def _all(self, after: str) -> Waiting[_Test]:
        test = yield from self._not(after)
        while self.words and self.words[0] not in ("-o", "-or", ")"):
            joiner = self.words.pop(0) if self.words[0] in ("-a", "-and") else ""
            other = yield from self._not(joiner)
            test = partial(_both, test, other)
        return test

    def _not(self, after: str = "") -> Waiting[_Test]:
        """Read what follows the operator *after*."""
        if not self.words:
            text = f"expected an expression after '{after}'"
            if after == "(":
                text = "invalid expression; expected to find a ')' but didn't see one."
                text += " Perhaps you need an extra predicate after '('"
            yield from self._refuse(text)
        word = self.words.pop(0)
        if word in ("!", "-not"):
            test = yield from self._not(word)
            return partial(_opposite, test)
        if word == ",":
            yield from not_simulated(self.p, "','")
        if word in ("-a", "-and", "-o", "-or"):
            text = f"you have used a binary operator '{word}' with nothing before it."
            text = f"invalid expression; {text}"
            yield from self._refuse(text)
        if word == ")" and after:
            yield from self._refuse(f"expected an expression between '{after}' and ')'")
        if word == "(":
            if self.words[:1] == [")"]:
                text = "invalid expression; empty parentheses are not allowed."
                yield from self._refuse(text)
            test = yield from self._any("(")
            if not self.words or self.words.pop(0) != ")":
                text = "I was expecting to find a ')' somewhere but did not see one."
                text = f"invalid expression; {text}"
                yield from fail(self.p, pick(self.p, "unpaired '('", text))
            return test
        return (yield from self._primary(word))

    def _refuse(self, text: str) -> Waiting[NoReturn]:
        """End because of an expression with a part missing, which BusyBox's takes for true, or for nothing."""
        if is_busybox(self.p):
            return not_simulated(self.p, "an empty expression")
        return fail(self.p, text)

    def _refuse_word(self, word: str, gnu: str) -> Waiting[NoReturn]:
        if is_busybox(self.p):
            return usage_error(self.p, f"unrecognized: {word}")
        return fail(self.p, gnu)

    def _argument(self, word: str) -> Waiting[str]:
        if not self.words:
            text = pick(self.p, f"{word} requires an argument", f"missing argument to `{word}'")
            yield from fail(self.p, text)
        return self.words.pop(0)

    def _primary(self, word: str) -> Waiting[_Test]:
        self.acts = self.acts or word in _ACTIONS
        if word == "-exec":
            return (yield from self._exec())
        plain = {
            "-print": self._print, "-delete": self._delete,
        }  # fmt: skip
        if word in plain:
            self.depth_first = self.depth_first or word == "-delete"
            return plain[word]
        if word == "-depth" or (word == "-d" and not is_busybox(self.p)):
            self.depth_first = True
            return _always
        if word not in MAKERS and word != "-maxdepth":
            text = f"unknown predicate `{word}'"
            # The level of -O is part of its word.
            if is_known(self.p, word[:2] if re.fullmatch("-O[0-9]*", word) else word):
                yield from not_simulated(self.p, f"'{word}'")
            if not word.startswith("-"):
                text = f"paths must precede expression: `{word}'"
            yield from self._refuse_word(word, text)
        argument = yield from self._argument(word)
        if word == "-maxdepth" and argument.isdecimal():
            self.max_depth = to_int(argument)
            return _always
        judge = MAKERS[word](self.p, argument) if word in MAKERS else None
        if judge is None:
            what = (
                f"argument '{argument}' to '{word}'" if word in MAKERS else f"number '{argument}'"
            )
            yield from fail(self.p, pick(self.p, f"invalid {what}", find_reason(word, argument)))
            return _always
        return partial(_judge, judge)

    # -- actions -------------------------------------------------------------------------------

    def _print(self, file: File) -> Waiting[bool]:
        yield from self.p.write(1, file.path + "\n")
        return True

    def _delete(self, file: File) -> Waiting[bool]:
        if file.path == ".":
            return True
        files = self.p.guest.files
        try:
            yield from self.p.call(
                files.rmdir if file.inode.is_dir else files.unlink, file.path, self.p.cwd
            )
        except OSError as error:
            yield from self.complain(file.path, error, "cannot delete ")
            return False
        return True

    def _exec(self) -> Waiting[_Test]:
        ends = [i for i, w in enumerate(self.words) if w == ";" or (w == "+" and i)]
        if not ends or not ends[0]:
            text = "invalid argument `;' to `-exec'" if ends else "missing argument to `-exec'"
            yield from fail(self.p, pick(self.p, "-exec requires an argument", text))
        end = ends[0]
        command, last = self.words[:end], self.words[end]
        del self.words[: end + 1]
        if last == "+" and command[-1] == "{}":
            yield from not_simulated(self.p, "'-exec ... {} +'")

        def run(file: File) -> Waiting[bool]:
            return (yield from self._run([word.replace("{}", file.path) for word in command])) == 0

        return run

    def _run(self, argv: list[str]) -> Waiting[int]:
        try:
            child = self.p.spawn(argv)
        except OSError as error:
            name = pick(self.p, argv[0], quote(argv[0]))
            yield from complain(self.p, f"{name}: {explain(error)}")
            return 1
        how = yield from self.p.wait(child)
        if how.signal is not None and not is_busybox(self.p):
            yield from complain(self.p, f"{quote(argv[0])} terminated by signal {how.signal}")
        return how.code if how.signal is None else 1


def _always(_: File) -> Waiting[bool]:
    yield from ()
    return True


def _judge(judge: Callable[[File], bool], file: File) -> Waiting[bool]:
    yield from ()
    return judge(file)


def _both(one: _Test, other: _Test, file: File) -> Waiting[bool]:
    return (yield from one(file)) and (yield from other(file))


def _either(one: _Test, other: _Test, file: File) -> Waiting[bool]:
    return (yield from one(file)) or (yield from other(file))


def _opposite(test: _Test, file: File) -> Waiting[bool]:
    return not (yield from test(file))
