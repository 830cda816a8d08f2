"""Patterns whose matches are bounded."""

import re
import threading

import pytest

from qgasim.matching import STEP_LIMIT, Cache, Pattern, TooCostly


def is_plain(text: str, length: int = 60) -> bool:
    return Pattern(text)._is_cheap(length)


def test_what_surely_takes_few_steps_is_matched_by_python() -> None:
    for text in ("abc", "a*b", "(a|b)c", r"a\*b*", "a.*b", "x{3}", "[]*+]a+"):
        assert is_plain(text)
    for text in ("(a+)+", "(a|b)*", "(?:a?){9}", "a?" * 32, "(?:a|a)" * 20, r"(.*)\1", "a.*b.*c"):
        assert not is_plain(text)
    assert not is_plain("a*b", length=STEP_LIMIT)


def test_both_ways_find_the_same() -> None:
    text = "xaabbx aab"
    for expression in ("a*b*", "(a|b)+", "a{2}b+", "^x", r"(a)\1", "", "b" * 300):
        pattern = Pattern(expression, re.DOTALL)
        plain = re.compile(expression, re.DOTALL)
        for factor in (1, STEP_LIMIT):
            pattern._factor = factor
            first, wanted = pattern.search(text, 1), plain.search(text, 1)
            assert (first and first.span()) == (wanted and wanted.span())
            assert [m.span() for m in pattern.finditer(text)] == [
                m.span() for m in plain.finditer(text)
            ]
            for name in ("match", "fullmatch"):
                found, expected = getattr(pattern, name)(text), getattr(plain, name)(text)
                assert (found and found.span()) == (expected and expected.span())


def test_long_texts_in_a_pattern_mean_what_they_meant() -> None:
    for text in ("a" * 1500, "a" * 1500 + "*b", "x?" + "ab" * 700 + "+c", r"\." * 600):
        pattern, plain = Pattern(text), re.compile(text)
        for subject in (
            "a" * 1600,
            "ab" * 701 + "c",
            "." * 601,
            "a" * 1499 + "b",
            "x" + "ab" * 700,
        ):
            found, expected = pattern.search(subject), plain.search(subject)
            assert (found and found.span()) == (expected and expected.span())


def test_a_match_that_takes_too_long_ends() -> None:
    pattern = Pattern(r"(a|aa)+$", limit=0.001)
    with pytest.raises(TooCostly):
        pattern.search("a" * 1_000_000 + "b")
    with pytest.raises(TooCostly):
        list(pattern.finditer("a" * 1_000_000 + "b"))


def test_other_threads_run_during_a_match() -> None:
    turns = 0
    is_done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not is_done.is_set():
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = turns
    with pytest.raises(TooCostly):
        Pattern(r"(a|aa)+$", limit=0.05).search("a" * 1_000_000 + "b")
    is_done.set()
    thread.join()
    assert turns > before


@pytest.mark.parametrize("text", ["(", "a{99999999999}", "(" * 900, "(" * 90_000, "*"])
def test_what_is_no_expression_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Pattern(text)


def test_a_cache_is_bounded_by_bytes() -> None:
    made: list[str] = []

    def make(text: str) -> str:
        made.append(text)
        return text.upper()

    cache = Cache(make, size=1000)
    for text in ("a", "b", "a", "x" * 900, "a", "y" * 2000, "y" * 2000):
        assert cache(text) == text.upper()
    assert [text[0] for text in made] == ["a", "b", "x", "a", "y", "y"]
    assert sum(len(text) + 64 for text in cache._made) <= 1000
