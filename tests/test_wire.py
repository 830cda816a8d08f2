"""The JSON dialect: properties that hold for any bytes, and cases that no recording has."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.errors import CommandError
from qgasim.wire import (
    FirstReader,
    JsonValue,
    LineReader,
    LocatingReader,
    Message,
    MessageReader,
    encode,
    encode_string,
    hash_order,
)
from qgasim.wire.text import codepoint_at

ATOMS = [
    b"{", b"}", b"[", b"]", b":", b",", b'"execute"', b"'guest-ping'", b'"id"', b"1", b"-0", b"0e1",
    b"1.5e-3", b"1.", b"-", b"true", b"nul", b'"\\u00e9"', b'"\\ud83d\\ude00"', b'"\\ud800"',
    "\u00e9".encode(), b'"\xff"', b"\xff", b"\xfe", b"\x00", b" ", b"\n", b"\r\n", b"\t", b'"\x80"',
    b'"\\x"', b'{"execute":"guest-ping"}', b'{"execute":"guest-ping","id":', b'"half', b"%d", b"Z",
    b'"' + b"x" * 300 + b'\\"' + b"y" * 300 + b'"', b"'" + b"\\'\\\\" * 20 + b"'", b'"' + b"\\n" * 20,
    b"1" * 30 + b".5" * 2 + b"e10", "\u2603\U0001f600\uffff".encode(),
]  # fmt: skip
READERS = [MessageReader, LocatingReader, FirstReader]
TEXTS = st.lists(st.one_of(st.sampled_from(ATOMS), st.binary(max_size=3)), max_size=12).map(
    b"".join
)


def read(reader: MessageReader, data: bytes) -> list[str]:
    return [show(message) for message in reader.feed(data)]


def show(message: Message) -> str:
    return f"error: {message}" if isinstance(message, CommandError) else encode(message)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), cuts=st.lists(st.integers(0, 60), max_size=8))
@pytest.mark.parametrize("make", READERS)
def test_how_the_bytes_are_cut_does_not_matter(
    make: type[MessageReader], texts: list[bytes], cuts: list[int]
) -> None:
    data = b"\n".join(texts)
    whole = read(make(), data)
    bytewise, cut = make(), make()
    assert [m for i in range(len(data)) for m in read(bytewise, data[i : i + 1])] == whole
    edges = sorted({0, len(data), *(min(c, len(data)) for c in cuts)})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert [m for piece in pieces for m in read(cut, piece)] == whole


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6))
def test_what_was_read_before_does_not_change_what_a_line_means(texts: list[bytes]) -> None:
    reader = MessageReader()
    for text in texts * 2:
        fresh = MessageReader()
        if not reader.is_between_messages:
            # An error leaves the lexer skipping; the newline ends that.
            read(reader, b"\xff\n")
        assert reader.is_between_messages
        assert read(reader, text) == read(fresh, text)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(garbage=st.one_of(TEXTS, st.binary(max_size=40)))
@pytest.mark.parametrize("make", READERS)
def test_a_good_request_after_garbage_and_ff_is_always_read(
    make: type[MessageReader], garbage: bytes
) -> None:
    reader = make()
    read(reader, garbage)
    assert read(reader, b'\xff{"execute":"guest-ping"}')[-1] == '{"execute": "guest-ping"}'


#: At the edges of what util/unicode.c takes.
SEQUENCES = [
    *(b"a", b"\xc3\xa9", b"\xe2\x98\x83", b"\xf0\x9f\x98\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf"),
    *(b"\xed\x9f\xbf", b"\xed\xa0\x80", b"\xef\xb7\x90", b"\xef\xb7\xb0", b"\xef\xbf\xbd", b"\xef\xbf\xbe"),
    *(b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\xbf\xbf", b"\xf4\x8f\xbf\xbd", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80"),
    *(b"\x80", b"\xbf", b"\xc3", b"\xe2\x98", b"\xf0\x9f\x98", b"\xfd", b"\x7f"),
]  # fmt: skip


def read_codepoints(raw: bytes) -> str | None:
    """Read a string as qobject/json-parser.c does, one mod_utf8_codepoint() after the other."""
    position, text = 0, ""
    while position < len(raw):
        codepoint, position = codepoint_at(raw + b'"', position)
        if codepoint < 0:
            return None
        text += chr(codepoint) if codepoint else "\udcc0\udc80"
    return text


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.one_of(st.sampled_from(SEQUENCES), st.binary(max_size=3)), max_size=8))
def test_a_string_is_read_as_its_code_points_are(parts: list[bytes]) -> None:
    raw = bytes(byte for byte in b"".join(parts) if 0x20 <= byte < 0xFE and byte not in b'"\\')
    (message,) = MessageReader().feed(b'["' + raw + b'"]')
    text = read_codepoints(raw)
    if text is None:
        assert str(message) == "JSON parse error, invalid UTF-8 sequence in string"
    else:
        assert message == [text]


# U+0000 is read back as the two bytes that QEMU keeps for it.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(value=VALUES)
def test_what_is_written_is_read_back(value: JsonValue) -> None:
    text = encode(value)
    assert text.isascii()
    (again,) = MessageReader().feed(text.encode() + b" ")
    if isinstance(again, CommandError):
        # Text that QEMU does not take: non-characters.
        assert "Unicode" in str(again)
    else:
        assert again == value


def test_keys_come_out_in_the_order_of_the_hash() -> None:
    # Recorded; digested in the research notes: ten keys one..ten.
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert hash_order(names) == [
        "ten",
        "four",
        "one",
        "three",
        "two",
        "six",
        "nine",
        "eight",
        "five",
        "seven",
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x7f", '"\\u007F"'),
        ("\U0001f600", '"\\uD83D\\uDE00"'),
        ("\udcc0\udc80", '"\\u0000"'),
        # An invalid sequence is one U+FFFD, however long (util/unicode.c).
        ("\udce2\udc98", '"\\uFFFD"'),
        ("\udced\udca0\udc80", '"\\uFFFD"'),
        ("\udcfca", '"\\uFFFDa"'),
    ],
)
def test_strings_are_written_as_qemu_writes_them(text: str, written: str) -> None:
    assert encode_string(text) == written


@pytest.mark.parametrize(
    ("written", "meant", "answered"),
    [
        ("\u00e9", "\u00e9", "\\u00E9"),
        ("\\u00e9", "\u00e9", "\\u00E9"),
        ("\\u0000", "\udcc0\udc80", "\\u0000"),
        ("\\ud83d\\ude00", "\U0001f600", "\\uD83D\\uDE00"),
        ("\\n\\/\\'", "\n/'", "\\n/'"),
        ("a\u00e9", "a\u00e9", "a\\u00E9"),
        ("a" * 300 + "\u00e9", "a" * 300 + "\u00e9", "a" * 300 + "\\u00E9"),
    ],
)
def test_a_long_string_means_and_is_written_as_a_short_one_does(
    written: str, meant: str, answered: str
) -> None:
    for times in (1, 500):
        (message,) = MessageReader().feed(b'["' + (written * times).encode() + b'"]')
        assert message == [meant * times]
        assert encode_string(meant * times) == f'"{answered * times}"'


@pytest.mark.parametrize(
    "end", ["\ufffe", "\\ud83d", "\\ud83dn", "\\ufdd0", "\\ud83f\\udfff", "\\ude00", "\\x"]
)
def test_what_is_wrong_at_the_end_of_a_long_string_is_found(end: str) -> None:
    for start in ("\u00e9", "\\u00e9", "\\ud83d\\ude00", "\\u0000"):
        text = start * 500 + end
        (message,) = MessageReader().feed(b'["' + text.encode() + b'"]')
        assert isinstance(message, CommandError)


def test_a_long_parse_error_is_cut_at_1023_bytes() -> None:
    # json-parser.c, parse_error(): char message[1024].
    (message,) = MessageReader().feed(b"a" * 5000 + b"\n")
    assert str(message) == "JSON parse error, invalid keyword '" + "a" * 1006


@pytest.mark.slow
def test_more_than_two_million_tokens_are_refused() -> None:
    # json-streamer.c: MAX_TOKEN_COUNT. Each token is one byte; with QEMU's accounting the size is fine.
    reader = MessageReader()
    messages = read(reader, b"[" + b"1," * (1 << 20))
    assert messages[0] == "error: JSON token count limit exceeded"


# -- readers ---------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(text=TEXTS, more=TEXTS, cut=st.integers(0, 60))
def test_a_line_is_read_when_it_ends(text: bytes, more: bytes, cut: int) -> None:
    reader, usual = LineReader(MessageReader()), MessageReader()
    data = text + b"\n" + more
    read_so_far = [m for piece in (data[:cut], data[cut:]) for m in read(reader, piece)]
    assert read_so_far == read(usual, data[: data.rfind(b"\n") + 1])


@pytest.mark.slow
def test_a_line_without_an_end_is_read_when_it_is_too_long_for_any_message() -> None:
    reader = LineReader(MessageReader())
    assert read(reader, b'"' + b"x" * (64 << 20)) == ["error: JSON token size limit exceeded"]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(before=TEXTS, after=TEXTS, other=TEXTS)
@pytest.mark.parametrize("make", [MessageReader, lambda: LineReader(MessageReader())])
def test_a_copy_has_read_the_same_and_goes_its_own_way(
    make: Callable[[], MessageReader], before: bytes, after: bytes, other: bytes
) -> None:
    reader = make()
    read(reader, before)
    copied = reader.copy()
    read(reader, other)
    again = make()
    read(again, before)
    assert read(copied, after) == read(again, after)


@pytest.mark.parametrize(
    ("make", "shown"), [(MessageReader, 2001), (LocatingReader, 1023 - len("stray '"))]
)
def test_how_much_of_a_stray_text_is_told(make: type[MessageReader], shown: int) -> None:
    # json-parser.c, parse_error(): char message[1024]. Before 11.1, strays did not go through it.
    error = read(make(), b'"' + b"x" * 2000 + b"\n")[0]
    assert error.partition("stray '")[2].rstrip("\n'") == '"' + "x" * (shown - 1)
