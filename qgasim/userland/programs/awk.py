"""The program awk, as far as one prints columns with it: ``awk -F: '/re/ {print $1, $NF}'``."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from qgasim.guest.files.nodes import decode_name
from qgasim.guest.processes.process import Process, Steps, Waiting
from qgasim.matching import Pattern
from qgasim.userland.limits import to_int
from qgasim.userland.programs.getopt import parse, usage_error
from qgasim.userland.programs.inputs import Source
from qgasim.userland.programs.messages import explain, fail
from qgasim.userland.programs.posix_regex import RegexError, compile_regex
from qgasim.userland.programs.registry import program
from qgasim.userland.shell.printf import expand_escapes

__all__: list[str] = []

_TOKEN: Final = re.compile(
    r'\s*(?:("(?:[^"\\]|\\.)*")|(\d+)|([A-Za-z_]\w*)|(==|!=|<=|>=|!~|&&|[-$,;(){}~<>+!/]))'
)


class _Unsupported(Exception):
    """The script is more than the simulated awk knows."""


class _Record(Struct):
    line: str
    fields: list[str]
    number: int
    variables: dict[str, str]


_Value = Callable[[_Record], str]
_Condition = Callable[[_Record], bool]


class _Rule(Struct):
    """``pattern { print values }``; *when* is a record, BEGIN or END."""

    when: str
    condition: _Condition
    prints: list[list[_Value]]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        return found[found.lastindex or 0] if found else ""

    def take(self, wanted: str = "") -> str:
        found = _TOKEN.match(self.text, self.at)
        token = found[found.lastindex or 0] if found else ""
        if found is None or (wanted and token != wanted):
            raise _Unsupported
        self.at = found.end()
        return token

    def rules(self) -> list[_Rule]:
        rules: list[_Rule] = []
        while self.text[self.at :].strip(" \t\n;"):
            self.at += len(self.text[self.at :]) - len(self.text[self.at :].lstrip(" \t\n;"))
            rules.append(self.rule())
        return rules

    def rule(self) -> _Rule:
        when = ""
        condition: _Condition = _everything
        if self.peek() in ("BEGIN", "END"):
            when = self.take()
        elif self.peek() != "{":
            condition = self.condition()
        if self.peek() != "{":
            return _Rule(when, condition, [[]])
        self.take("{")
        prints: list[list[_Value]] = []
        while self.peek() != "}":
            if self.peek() == ";":
                self.take()
                continue
            prints.append(self.print())
        self.take("}")
        return _Rule(when, condition, prints)

    def print(self) -> list[_Value]:
        self.take("print")
        values: list[_Value] = []
        closes = self.peek() == "("
        if closes:
            self.take()
        while self.peek() not in (";", "}", ")", ""):
            values.append(self.concatenation())
            if self.peek() != ",":
                break
            self.take()
        if closes:
            self.take(")")
        return values

    def condition(self) -> _Condition:
        one = self.comparison()
        while self.peek() == "&&":
            self.take()
            one = _conjunction(one, self.comparison())
        return one

    def comparison(self) -> _Condition:
        if self.peek() == "!":
            self.take()
            inner = self.comparison()
            return lambda record: not inner(record)
        if self.peek() == "/":
            regex = self.regex()
            return lambda record: regex.search(record.line) is not None
        left = self.concatenation()
        operator = self.peek()
        if operator in ("~", "!~"):
            self.take()
            regex = self.regex()
            return lambda record: (regex.search(left(record)) is None) == (operator == "!~")
        if operator in ("==", "!=", "<", ">", "<=", ">="):
            self.take()
            right = self.concatenation()
            return lambda record: _compare(left(record), operator, right(record))
        return lambda record: left(record) not in ("", "0")

    def regex(self) -> Pattern:
        self.take("/")
        found = re.compile(r"((?:[^/\\]|\\.)*)/").match(self.text, self.at)
        if found is None:
            raise _Unsupported
        self.at = found.end()
        return compile_regex(found[1].replace("\\/", "/"), extended=True)

    def concatenation(self) -> _Value:
        values = [self.value()]
        while (token := self.peek()) and (token[0] in '"$' or token[0].isalnum()):
            values.append(self.value())
        return values[0] if len(values) == 1 else lambda record: "".join(v(record) for v in values)

    def value(self) -> _Value:
        token = self.take()
        if token.startswith('"'):
            text = decode_name(expand_escapes(token[1:-1].replace('\\"', '"'))[0])
            return lambda _: text
        if token.isdecimal():
            return lambda _: token
        if token == "$":
            return self.field()
        if token == "NR":
            return lambda record: str(record.number)
        if token == "NF":
            return lambda record: str(len(record.fields))
        if token[0].isalpha() or token[0] == "_":
            return lambda record: record.variables.get(token, "")
        raise _Unsupported

    def field(self) -> _Value:
        less = 0
        closes = self.peek() == "("
        if closes:
            self.take()
        number = self.value()
        if closes:
            if self.peek() == "-":
                self.take()
                less = to_int(self.take())
            self.take(")")

        def get(record: _Record) -> str:
            text = number(record)
            index = (to_int(text) if text.isdecimal() else 0) - less
            if index == 0:
                return record.line
            return record.fields[index - 1] if 0 < index <= len(record.fields) else ""

        return get


def _everything(_: _Record) -> bool:
    return True


def _conjunction(one: _Condition, other: _Condition) -> _Condition:
    return lambda record: one(record) and other(record)


def _compare(left: str, operator: str, right: str) -> bool:
    """Compare as numbers if both are some, as text otherwise."""
    number = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)\s*")
    order: int
    if number.fullmatch(left) and number.fullmatch(right):
        order = (float(left) > float(right)) - (float(left) < float(right))
    else:
        order = (left > right) - (left < right)
    return {
        "==": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0, "<=": order <= 0,
        ">=": order >= 0,
    }[operator]  # fmt: skip


def _splitter(separator: str) -> Callable[[str], list[str]]:
    if separator == " ":
        return lambda line: re.findall(r"[^ \t\n]+", line)
    if separator == "\t" or (len(separator) == 1 and separator != "\\"):
        return lambda line: line.split(separator) if line else []
    regex = compile_regex(separator, extended=True)

    def split(line: str) -> list[str]:
        fields: list[str] = []
        at = 0
        for found in regex.finditer(line):
            if found.end() > found.start():
                fields.append(line[at : found.start()])
                at = found.end()
        return [*fields, line[at:]] if line else []

    return split


@program("awk")
def awk(p: Process) -> Steps:
    """Print columns of lines."""
    options = yield from parse(p, "F:v:f:", in_order=True)
    words = options.operands
    script = options.get("f")
    if script is not None:
        try:
            text = decode_name((yield from p.read_file(script)))
        except OSError as error:
            yield from fail(p, f"can't open file {script}: {explain(error)}", 2)
            return 2
    else:
        if not words:
            yield from usage_error(p)
        text = words.pop(0)
    variables = {"FS": " ", "OFS": " ", "ORS": "\n"}
    if "F" in options:
        given = options.get("F") or ""
        variables["FS"] = "\t" if given == "t" else decode_name(expand_escapes(given)[0])
    for item in options.all("v"):
        name, _, value = item.partition("=")
        variables[name] = decode_name(expand_escapes(value)[0])
    try:
        rules = _Parser(text).rules()
        split = _splitter(variables["FS"])
    except RegexError as error:
        yield from fail(p, f"bad regex: {error}", 2)
        return 2
    except _Unsupported:
        known = "'[/re/] {print $N, ...}'"
        yield from fail(p, f"syntax error: the simulated awk knows only {known}: {text}", 2)
        return 2
    return (yield from _run(p, rules, words, variables, split))


def _run(
    p: Process,
    rules: Sequence[_Rule],
    paths: list[str],
    variables: dict[str, str],
    split: Callable[[str], list[str]],
) -> Steps:
    record = _Record("", [], 0, variables)
    yield from _apply(p, rules, "BEGIN", record)
    if all(rule.when == "BEGIN" for rule in rules):
        return 0
    source = Source(p, paths)
    while lines := (yield from source.lines()):
        for raw in lines:
            line = decode_name(raw.removesuffix(b"\n"))
            record = _Record(line, split(line), record.number + 1, variables)
            yield from _apply(p, rules, "", record)
    yield from _apply(p, rules, "END", record)
    return 2 if source.has_failed else 0


def _apply(p: Process, rules: Sequence[_Rule], when: str, record: _Record) -> Waiting[None]:
    space, end = record.variables["OFS"], record.variables["ORS"]
    out: list[str] = []
    for rule in rules:
        if rule.when != when or not rule.condition(record):
            continue
        for values in rule.prints:
            out.append(space.join(v(record) for v in values) if values else record.line)
            out.append(end)
    if out:
        yield from p.write(1, "".join(out))
