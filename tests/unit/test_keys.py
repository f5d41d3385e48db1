"""Keys as people write them come back as they were, from an argument and from a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.cli.keys import parse_key, read_keys
from batch_scoring.errors import InputFault

Found = TypeVar("Found")
NAMES = ("branch", "id", "day")

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.text(st.sampled_from(",=\"'; ab\t=,#%:\\ü"), max_size=8)
VALUES = ANY_TEXT | AWKWARD
KEYS = st.tuples(VALUES, VALUES, VALUES)


def as_csv(rows: Sequence[Sequence[str]], ending: str = "\r\n") -> str:
    """Rows as any program writes them."""
    text = io.StringIO()
    csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


def as_argument(names: Sequence[str], key: Sequence[str]) -> str:
    """A key of several columns as one argument."""
    return as_csv([[f"{name}={value}" for name, value in zip(names, key, strict=True)]], ending="")


def is_kept_by_files(value: str) -> bool:
    """Files are read without the spaces around a field, and have no way to say an empty text."""
    return value.strip() == value != ""


def key_or_refusal(read: Callable[[], Found]) -> tuple[Found | None, str]:
    """What is read, or the words with which it is refused."""
    try:
        return read(), ""
    except InputFault as exc:
        return None, str(exc)


@settings(deadline=None)
@given(key=KEYS, order=st.permutations(range(3)))
def test_a_key_of_several_columns_comes_back_from_an_argument(key: tuple[str, str, str], order: list[int]) -> None:
    names = [NAMES[i] for i in order]
    argument = as_argument(names, [key[i] for i in order])

    assert parse_key(argument, NAMES) == key


@settings(deadline=None)
@given(value=VALUES.filter(bool))
def test_a_key_of_one_column_is_the_argument_itself(value: str) -> None:
    assert parse_key(value, ("id",)) == (value,)


@pytest.mark.slow
@settings(deadline=None)
@given(
    keys=st.lists(KEYS.filter(lambda key: all(map(is_kept_by_files, key))), min_size=1, max_size=8),
    has_header=st.booleans(),
    has_mark=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_keys_of_several_columns_come_back_from_a_file_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    keys: list[tuple[str, str, str]],
    has_header: bool,
    has_mark: bool,
    ending: str,
) -> None:
    rows: list[tuple[str, ...]] = list(keys)
    if has_header:
        rows = [("note", *reversed(NAMES)), *(("x", *reversed(key)) for key in keys)]
    file = tmp_path_factory.getbasetemp() / "keys.csv"
    file.write_bytes(as_csv(rows, ending).encode("utf-8-sig" if has_mark else "utf-8"))

    assert read_keys(str(file), NAMES) == tuple(dict.fromkeys(keys))


@settings(deadline=None)
@given(keys=st.lists(st.text(st.sampled_from("abcXYZ019-_./ü"), min_size=1), min_size=1, max_size=8))
def test_keys_stand_one_a_line_among_empty_lines(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "lines.txt"
    file.write_text("\n" + "\n\n  \n".join(keys), encoding="utf-8")

    assert read_keys(str(file), ("id",)) == tuple((key,) for key in dict.fromkeys(keys))


@settings(deadline=None)
@given(text=ANY_TEXT.filter(lambda text: not set(text) & set("\r\n")) | AWKWARD)
def test_an_argument_is_a_key_or_refused_with_what_was_expected(text: str) -> None:
    key, refusal = key_or_refusal(partial(parse_key, text, NAMES))
    assert key is None or len(key) == 3
    assert key is not None or ("--key" in refusal and "expected branch=…,id=…,day=…" in refusal)


@settings(deadline=None)
@given(content=st.binary(max_size=60) | VALUES.map(str.encode))
def test_a_file_holds_keys_or_is_refused_by_its_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(content)
    for names in (("id",), NAMES):
        keys, refusal = key_or_refusal(partial(read_keys, str(file), names))
        assert keys is not None or refusal.startswith(str(file))
        if keys is not None:
            assert keys
            assert all(len(key) == len(names) and all(map(is_kept_by_files, key)) for key in keys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("branch=1,id=2", "lacks day"),
        ("branch=1,id=2,day=3,id=4", "each column once"),
        ("branch=1,id=2,day=3,x=4", "each column once"),
        ("Branch=1,id=2,day=3", "each column once"),
        ("1,2,3", "each column once"),
        ("", "lacks branch, id, day"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(text: str, words: str) -> None:
    with pytest.raises(InputFault, match=words):
        parse_key(text, NAMES)


def test_a_name_may_have_spaces_around_it_and_a_value_any() -> None:
    assert parse_key("branch = x , id= y =z,day=", NAMES) == (" x ", " y =z", "")
