"""Reading arguments and writing results, with toy commands."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Struct, structs

from qgasim.agent import Agent
from qgasim.dialect import RELEASES, Dialect
from qgasim.errors import CommandError
from qgasim.qapi.annotations import Alternate, Since, UInt64
from qgasim.qapi.registry import COMMANDS, Command, Entry, command, compile_table
from qgasim.wire import JsonValue
from tests.serving import Course

OLD = RELEASES[7, 2]
NEW = structs.replace(OLD, version=(8, 1), full_version="8.1.0")


class Inner(Struct, rename="kebab"):
    """A struct with a member of each fate."""

    logical_id: int
    is_on: bool
    note: str | None = None
    late: Annotated[int, Since((8, 0))] | None = None


class Wide(Struct, rename="kebab"):
    """Members that come out in the order of their hashes (qobject/qdict.c, tdb_hash())."""

    count: int
    buf_b64: bytes
    eof: bool


class Pair(Struct):
    """Members in one bucket: 110 of the 512 of qobject/qdict.c."""

    aa: int
    aq: int


class Numbers(Struct, rename="kebab"):
    """Nothing but integers."""

    logical_id: int
    online: int


class Sparse(Struct, rename="kebab"):
    """Members that may be absent."""

    name: str
    numbers: list[int] | None = None
    real: float | None = None
    late: Annotated[int, Since((8, 0))] | None = None


def toy(function: Callable[..., Any], **options: Any) -> Command:
    """Make a command of *function*, and leave no trace of it."""
    command(**{"since": (0, 1), **options})(function)
    return COMMANDS.pop()


def plain(agent: Agent, number: int, text: str, flag: bool, more: int = 7) -> Any:
    return [number, text, flag, more]


def unsigned(agent: Agent, index: UInt64) -> Any:
    return index


def choice(agent: Agent, mode: Literal["on", "off"] = "on") -> Any:
    return mode


def either(
    agent: Agent, whence: Annotated[int | Literal["set", "cur"], Alternate("GuestFileWhence")]
) -> Any:
    return whence


def many(agent: Agent, keys: list[str] | None = None) -> Any:
    return keys


def deep(agent: Agent, vcpus: list[Inner]) -> Any:
    return [(v.logical_id, v.is_on, v.note, v.late) for v in vcpus]


def nothing(agent: Agent) -> Any:
    return None


def later(agent: Agent, old: int = 0, new: Annotated[int, Since((8, 0))] | None = None) -> Any:
    return [old, new]


for _function in (plain, unsigned, choice, either, many, deep, nothing, later):
    # What is written is no matter here.
    _function.__annotations__["return"] = None

PLAIN: dict[str, JsonValue] = {"number": 1, "text": "a", "flag": False}
CPU: dict[str, JsonValue] = {"logical-id": 3, "is-on": True}

#: A function, its arguments, and what it is called with.
READ: dict[str, tuple[Callable[..., Any], dict[str, JsonValue], Any]] = {
    "a default": (plain, {**PLAIN}, [1, "a", False, 7]),
    "no default": (plain, {**PLAIN, "more": -1}, [1, "a", False, -1]),
    "the smallest integer": (plain, {**PLAIN, "number": -(1 << 63)}, [-(1 << 63), "a", False, 7]),
    "the largest integer": (
        plain,
        {**PLAIN, "number": (1 << 63) - 1},
        [(1 << 63) - 1, "a", False, 7],
    ),
    "uint64": (unsigned, {"index": (1 << 64) - 1}, (1 << 64) - 1),
    "a negative uint64": (unsigned, {"index": -1}, (1 << 64) - 1),
    "an enum": (choice, {"mode": "off"}, "off"),
    "an enum's default": (choice, {}, "on"),
    "an alternate's number": (either, {"whence": 2}, 2),
    "an alternate's name": (either, {"whence": "cur"}, "cur"),
    "a list": (many, {"keys": ["a", "b"]}, ["a", "b"]),
    "an empty list": (many, {"keys": []}, []),
    "no list": (many, {}, None),
    "structs": (deep, {"vcpus": [CPU, {**CPU, "note": ""}]}, [(3, True, None, None), (3, True, "", None)]),
    "nothing": (nothing, {}, None),
}  # fmt: skip

#: A function, its arguments, and the error (qapi/qobject-input-visitor.c; tests/golden/7.2/args.jsonl).
REFUSED: dict[str, tuple[Callable[..., Any], dict[str, JsonValue], str]] = {
    "all is missing: the first is named": (plain, {}, "Parameter 'number' is missing"),
    "missing before wrong": (plain, {"text": 1}, "Parameter 'number' is missing"),
    "wrong before missing": (
        plain,
        {"number": "1"},
        "Invalid parameter type for 'number', expected: integer",
    ),
    "missing before unexpected": (plain, {"foo": 1, "number": 1}, "Parameter 'text' is missing"),
    "wrong before unexpected": (
        plain,
        {**PLAIN, "foo": 1, "more": "x"},
        "Invalid parameter type for 'more', expected: integer",
    ),
    "unexpected": (plain, {**PLAIN, "foo": None}, "Parameter 'foo' is unexpected"),
    "unexpected where there is nothing": (nothing, {"x": 1}, "Parameter 'x' is unexpected"),
    # The slots of a GHashTable with 8 of them: g_str_hash() * 11 modulo 7 (glib 2.74, ghash.c):
    # b in 2, d in 3, a in 5, c in 6.
    "the first of several unexpected": (
        nothing,
        {"a": 1, "b": 1, "c": 1, "d": 1},
        "Parameter 'b' is unexpected",
    ),
    "the first of two unexpected": (nothing, {"c": 1, "a": 1}, "Parameter 'a' is unexpected"),
    # Asked of qemu-ga 7.2: more names than a table of 2^15 slots holds.
    "the first of very many unexpected": (
        nothing,
        {f"k{number}": 1 for number in range(45_000)},
        "Parameter 'k3316' is unexpected",
    ),
    "an underscore is no hyphen": (
        deep,
        {"vcpus": [{"logical_id": 1, "is-on": True}]},
        "Parameter 'vcpus[0].logical-id' is missing",
    ),
    "null is not absent": (
        plain,
        {**PLAIN, "more": None},
        "Invalid parameter type for 'more', expected: integer",
    ),
    "a double is no integer": (
        plain,
        {**PLAIN, "number": 1.0},
        "Invalid parameter type for 'number', expected: integer",
    ),
    "a boolean is no integer": (
        plain,
        {**PLAIN, "number": True},
        "Invalid parameter type for 'number', expected: integer",
    ),
    "2^63 is no integer": (
        plain,
        {**PLAIN, "number": 1 << 63},
        "Invalid parameter type for 'number', expected: integer",
    ),
    "a number is no text": (
        plain,
        {**PLAIN, "text": 1},
        "Invalid parameter type for 'text', expected: string",
    ),
    "a number is no truth": (
        plain,
        {**PLAIN, "flag": 1},
        "Invalid parameter type for 'flag', expected: boolean",
    ),
    "a text is no uint64": (unsigned, {"index": "1"}, "Parameter 'index' expects uint64"),
    "a double is no uint64": (unsigned, {"index": 1.0}, "Parameter 'index' expects uint64"),
    "no value of the enum": (
        choice,
        {"mode": "up"},
        "Parameter 'mode' does not accept value 'up'",
    ),
    "no text for an enum": (
        choice,
        {"mode": 1},
        "Invalid parameter type for 'mode', expected: string",
    ),
    "no name of an alternate": (
        either,
        {"whence": "foo"},
        "Parameter 'whence' does not accept value 'foo'",
    ),
    "a double for an alternate": (
        either,
        {"whence": 1.0},
        "Invalid parameter type for 'whence', expected: integer",
    ),
    "a boolean for an alternate": (
        either,
        {"whence": False},
        "Invalid parameter type for 'whence', expected: GuestFileWhence",
    ),
    "null for an alternate": (
        either,
        {"whence": None},
        "Invalid parameter type for 'whence', expected: GuestFileWhence",
    ),
    "a text is no list": (
        many,
        {"keys": "a"},
        "Invalid parameter type for 'keys', expected: array",
    ),
    "an item is wrong": (
        many,
        {"keys": ["a", 1]},
        "Invalid parameter type for 'keys[1]', expected: string",
    ),
    "an item is no object": (
        deep,
        {"vcpus": [CPU, 1]},
        "Invalid parameter type for 'vcpus[1]', expected: object",
    ),
    "a member is missing": (deep, {"vcpus": [{}]}, "Parameter 'vcpus[0].logical-id' is missing"),
    "a member is wrong": (
        deep,
        {"vcpus": [CPU, {**CPU, "is-on": 1}]},
        "Invalid parameter type for 'vcpus[1].is-on', expected: boolean",
    ),
    "a member is unexpected": (
        deep,
        {"vcpus": [{**CPU, "foo": 1}]},
        "Parameter 'vcpus[0].foo' is unexpected",
    ),
    "a member is too new": (
        deep,
        {"vcpus": [{**CPU, "late": 1}]},
        "Parameter 'vcpus[0].late' is unexpected",
    ),
}

#: A result's type, the result, and how it is written.
WRITTEN: dict[str, tuple[Any, Any, str]] = {
    "nothing": (None, None, "{}"),
    "an integer": (int, -5, "-5"),
    "an unsigned integer": (UInt64, (1 << 64) - 1, "18446744073709551615"),
    "a text": (str, "a\u00e9\n\x7f/'", '"a\\u00E9\\n\\u007F/\'"'),
    "a truth": (bool, True, "true"),
    "an enum": (Literal["thawed", "frozen"], "frozen", '"frozen"'),
    "no items": (list[int], [], "[]"),
    "items": (list[str], ["a", "b"], '["a", "b"]'),
    # Recorded: tests/golden/7.2/file.jsonl, read-exact.
    "the order of hashes": (
        Wide,
        Wide(4, b"test", False),
        '{"count": 4, "buf-b64": "dGVzdA==", "eof": false}',
    ),
    "bytes in a list": (list[bytes], [b"test", b""], '["dGVzdA==", ""]'),
    "the latest first in a bucket": (Pair, Pair(1, 2), '{"aq": 2, "aa": 1}'),
    "integers alone": (Numbers, Numbers(3, 1), '{"online": 1, "logical-id": 3}'),
    "absent members": (Sparse, Sparse("a"), '{"name": "a"}'),
    "an empty list is not absent": (list[Sparse], [Sparse("a", [])], '[{"name": "a", "numbers": []}]'),
    # 17 significant digits (recorded: tests/golden/7.2/wire.jsonl, id-float-long).
    "a fraction": (list[float], [0.12345678901234568, 1718452890.1], "[0.12345678901234568, 1718452890.0999999]"),
    "a whole number": (list[float], [1.0, 1e22, 1.5e-7], "[1, 1e+22, 1.4999999999999999e-07]"),
    "a member that is too new": (Sparse, Sparse("a", late=1), '{"name": "a"}'),
}  # fmt: skip


def entry(function: Callable[..., Any], dialect: Dialect) -> Entry:
    made = toy(function)
    return compile_table([made], dialect)[made.name]


def call(function: Callable[..., Any], arguments: dict[str, JsonValue], dialect: Dialect) -> Any:
    return entry(function, dialect).call(Course().agent, arguments)


@pytest.mark.parametrize("name", READ)
def test_arguments_are_read(name: str) -> None:
    function, arguments, result = READ[name]
    assert call(function, arguments, OLD) == result


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_are_refused_in_the_order_and_the_words_of_qapi(name: str) -> None:
    function, arguments, text = REFUSED[name]
    with pytest.raises(CommandError) as caught:
        call(function, arguments, OLD)
    assert str(caught.value) == text


def test_a_command_is_not_executed_if_an_argument_is_wrong() -> None:
    called: list[int] = []

    def spy(agent: Agent, number: int) -> None:
        called.append(number)

    with pytest.raises(CommandError):
        call(spy, {"number": 1, "foo": 2}, OLD)
    assert called == []


def test_reading_changes_no_argument() -> None:
    arguments: dict[str, JsonValue] = {"vcpus": [{**CPU}]}
    call(deep, arguments, OLD)
    assert arguments == {"vcpus": [CPU]}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_result_is_written_as_qemu_writes_it(name: str) -> None:
    returns, result, text = WRITTEN[name]

    def function(agent: Agent) -> None: ...

    function.__annotations__["return"] = returns
    written = entry(function, OLD).write(result)
    assert (written if isinstance(written, str) else b"".join(written).decode()) == text


def test_a_type_that_cannot_be_read_or_written_is_refused_at_once() -> None:
    def odd(agent: Agent, value: dict[str, int]) -> None: ...

    def odder(agent: Agent) -> dict[str, int]:
        return {}

    with pytest.raises(TypeError, match="no way to read"):
        entry(odd, OLD)
    with pytest.raises(TypeError, match="no way to write"):
        entry(odder, OLD)


# -- releases --------------------------------------------------------------------------------------


def test_an_argument_that_is_too_new_is_unexpected() -> None:
    assert call(later, {"old": 1}, OLD) == [1, None]
    with pytest.raises(CommandError) as caught:
        call(later, {"old": 1, "new": 2}, OLD)
    assert str(caught.value) == "Parameter 'new' is unexpected"
    assert call(later, {"old": 1, "new": 2}, NEW) == [1, 2]
    with pytest.raises(CommandError) as caught:
        call(later, {"new": None}, NEW)
    assert str(caught.value) == "Invalid parameter type for 'new', expected: integer"


def test_a_result_has_the_members_of_its_release() -> None:
    def function(agent: Agent) -> Sparse:
        return Sparse("a", late=1)

    assert entry(function, OLD).write(Sparse("a", late=1)) == '{"name": "a"}'
    assert sorted(entry(function, NEW).write(Sparse("a", late=1))) == sorted(
        '{"name": "a", "late": 1}'
    )


def test_a_table_has_the_commands_of_its_release_in_the_order_given() -> None:
    commands = [
        toy(nothing, name="guest-z"),
        toy(nothing, name="guest-new", since=(8, 0)),
        toy(nothing, name="guest-old", until=(8, 0)),
        toy(choice, name="guest-both", until=(8, 1)),
        toy(many, name="guest-both", since=(8, 1)),
        toy(nothing, name="guest-just", since=(7, 2)),
        toy(nothing, name="guest-gone", until=(7, 2)),
    ]
    assert list(compile_table(commands, OLD)) == [
        "guest-z",
        "guest-old",
        "guest-both",
        "guest-just",
    ]
    assert list(compile_table(commands, NEW)) == [
        "guest-z",
        "guest-new",
        "guest-both",
        "guest-just",
    ]
    agent = Course().agent
    assert compile_table(commands, OLD)["guest-both"].call(agent, {}) == "on"
    assert compile_table(commands, NEW)["guest-both"].call(agent, {}) is None


def test_a_table_is_shared_and_cannot_be_changed() -> None:
    commands = [toy(nothing)]
    table = compile_table(commands, OLD)
    assert compile_table(commands, OLD) is table
    with pytest.raises(TypeError):
        table["nothing"] = table["nothing"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        table["nothing"].is_supported = False  # type: ignore[misc]


def test_a_function_is_a_command_by_its_name() -> None:
    def guest_do_this(agent: Agent, one_thing: int, other: str = "x") -> None: ...

    made = toy(guest_do_this, replies=False, while_frozen=True)
    assert made.name == "guest-do-this"
    assert [(p.name, p.is_optional) for p in made.parameters] == [
        ("one-thing", False),
        ("other", True),
    ]
    assert (made.replies, made.while_frozen, made.platforms) == (False, True, None)


def test_of_many_unexpected_members_the_one_that_glib_finds_first_is_named() -> None:
    # Asked of Debian's qemu-ga 7.2 (glib 2.74): eight members make its hash table grow.
    extra = '"q3": 1, "path": 1, "a-b": 1, "zz": 1, "q2": 1'
    request = (
        '{"execute": "guest-file-seek", "arguments": {"handle": 7, "offset": 1, "whence": 0, '
        f"{extra}}}}}"
    )
    (reply,) = Course().effects(request.encode())
    assert reply == (
        b'{"error": {"class": "GenericError", "desc": "Parameter \'a-b\' is unexpected"}}\n'
    )
