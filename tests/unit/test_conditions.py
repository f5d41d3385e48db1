"""Conditions as people write them: what is read, what is refused and where, and that printing loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.errors import InputFault
from batch_scoring.store.source.condition_parser import from_record, parse
from batch_scoring.store.source.conditions import Combined, Comparison, Condition, Not, Value

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.text(st.sampled_from("'\"=<>!(),; -andortilkebw\n%_"), max_size=10)
KEYWORDS = st.sampled_from(["and", "OR", "not", "in", "is", "null", "between", "Like"])
NUMBERS = st.from_regex(r"-?\d{1,6}(\.\d{1,4})?", fullmatch=True)
TIMESTAMPS = st.sampled_from(["2026-01-31", "2026-01-31 12:00", "2026-01-31 12:00:00.5+02:00", "2026-01-31T12:00:00Z"])
COLUMNS = (TEXT | AWKWARD | KEYWORDS).filter(bool)
VALUES = st.builds(Value, text=TEXT | AWKWARD | KEYWORDS | NUMBERS, is_quoted=st.just(True)) | st.builds(
    Value, text=NUMBERS | TIMESTAMPS
)


def comparisons() -> st.SearchStrategy[Condition]:
    def some(operator: str) -> st.SearchStrategy[tuple[Value, ...]]:
        least, most = {"is null": (0, 0), "between": (2, 2), "in": (1, 4)}.get(operator, (1, 1))
        return st.lists(VALUES, min_size=least, max_size=most).map(tuple)

    operators = ["=", "!=", "<", "<=", ">", ">=", "is null", "in", "between", "like"]
    return st.sampled_from(operators).flatmap(
        lambda operator: st.builds(Comparison, column=COLUMNS, operator=st.just(operator), values=some(operator))
    )


def trees(leaves: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(Not, condition=inner)
            | st.builds(
                Combined,
                operator=st.sampled_from(["and", "or"]),
                conditions=st.lists(inner, min_size=2, max_size=3).map(tuple),
            )
        ),
        max_leaves=8,
    )


@settings(deadline=None)
@given(condition=trees(comparisons()))
def test_a_condition_that_is_printed_and_read_again_is_the_same(condition: Condition) -> None:
    assert parse(str(condition)) == from_record(str(condition)) == condition


@settings(deadline=None)
@given(text=TEXT | AWKWARD | st.lists(KEYWORDS | AWKWARD | NUMBERS, max_size=8).map(" ".join))
def test_any_text_is_a_condition_or_refused_with_the_place(text: str) -> None:
    try:
        found = parse(text)
    except InputFault as exc:
        refusal = str(exc)
        assert refusal.startswith(f"--where {text!r}, character ")
        place = int(refusal.removeprefix(f"--where {text!r}, character ").partition(":")[0])
        assert 1 <= place <= len(text) + 1
    else:
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("segment = gold and age > 30", "segment = gold and age > 30"),
        ("a = 1 or b = 2 and c = 3", "a = 1 or (b = 2 and c = 3)"),
        ("(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3"),
        ("a = 1 and b = 2 and c = 3", "a = 1 and b = 2 and c = 3"),
        ("NOT a = 1 AND b <> 2", "not a = 1 and b != 2"),
        ("not (a = 1 and b = 2)", "not (a = 1 and b = 2)"),
        ("a IN (1,'x''y',  z)", "a in (1, 'x''y', z)"),
        ("a not in (1)", "a not in (1)"),
        ("a between 1 and 2 and b = 3", "a between 1 and 2 and b = 3"),
        ("a not between 2026-01-01 and 2026-01-31 12:00", "a not between 2026-01-01 and 2026-01-31 12:00"),
        ("a not like 'x%'", "a not like 'x%'"),
        ("a is not null", "a is not null"),
        ("not a is null", "a is not null"),
        ('"Loan Amount">=-5.5', '"Loan Amount" >= -5.5'),
        ('"say ""so"""=x', '"say ""so""" = x'),
        ("  a\t=\n1 ", "a = 1"),
        ("a=3+", "a = 3+"),
        ("a = 'and'", "a = 'and'"),
        ("Property_Area = Semi-urban", "Property_Area = Semi-urban"),
        ("((a = 1))", "a = 1"),
    ],
)
def test_a_condition_is_read_as_sql_would_read_it(text: str, means: str) -> None:
    assert str(parse(text)) == means


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 1, "found the end, expected a column"),
        ("a", 2, "found the end, expected one of = != <"),
        ("a ~ b", 3, "expected one of = != <"),
        ("a == 3", 3, "found '==', expected one of = != <"),
        ("a = ", 5, "found the end, expected a value"),
        ("a = very gold", 10, "a value of several words is written in single quotes"),
        ('a = "b"', 5, "a value is written 'as this'"),
        ("'a' = b", 1, 'a column is written "as this"'),
        ("a = null", 5, "write is null, or is not null"),
        ("a = and b = 1", 5, "the word in quotes"),
        ("a is 3", 6, "found '3', expected null"),
        ("a in 3", 6, "expected ("),
        ("a in ()", 7, "expected a value"),
        ("a in (1", 8, "expected , or )"),
        ("a between 1 or 2", 13, "expected and"),
        ("a not = 3", 7, "expected in, between or like"),
        ("(a = 1", 7, "expected and, or, or )"),
        ("a = 1)", 6, "found ')', expected and, or, or the end"),
        ("a = 1 and", 10, "found the end, expected a column"),
        ("a = 1, b = 2", 6, "found ',', expected and, or, or the end"),
        ("a = 'x", 5, "the quote ' is not closed"),
        ("a = O'Brien", 6, "the quote ' is not closed"),
        ("a = 1; b = 2", 6, "found ';'"),
        ("(" * 30 + "a = 1" + ")" * 30, 21, "more than 20 parentheses"),
        ("not " * 30 + "a = 1", 81, "more than 20 parentheses"),
        (" or ".join(["a = 1"] * 501), 4501, "more than 500 comparisons"),
        (f"a in ({','.join(['1'] * 5001)})", 10007, "more than 5,000 values"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(text: str, place: int, words: str) -> None:
    with pytest.raises(InputFault) as refused:
        parse(text)
    assert f"character {place}: " in str(refused.value)
    assert words in str(refused.value)
