"""The one reader of files: what is a number, what is missing, and what is said about it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring.errors import InputFault
from batch_scoring.files.format import PLAIN, FileFormat
from batch_scoring.files.frame import read_frame

FILE = Path("people.csv")


def read(text: str | bytes, *, form: FileFormat = PLAIN, file: Path = FILE, **options: Any) -> pd.DataFrame:
    return read_frame(file, text.encode() if isinstance(text, str) else text, form, **options)


def notes_of(text: str | bytes, *, form: FileFormat = PLAIN) -> list[str]:
    notes: list[str] = []
    read(text, form=form, notify=notes.append)
    return notes


def fault(text: str | bytes, *, form: FileFormat = PLAIN, file: Path = FILE) -> str:
    with pytest.raises(InputFault) as refused:
        read(text, form=form, file=file)
    return str(refused.value)


def column(*values: str) -> str:
    return "x\n" + "".join('"{}"\n'.format(value.replace('"', '""')) for value in values)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["1", "-2", "0"], "int64"),
        (["1", "2.5"], "float64"),
        (["1", ".5", "5.", "+5", "1e5", "1E-5"], "float64"),
        (["1", " 2", "3 "], "int64"),
        (["1", ""], "float64"),
        (["true", "False"], "bool"),
        (["true", "", "FALSE"], "object"),
        (["007", "8"], "str"),
        (["-007", "8"], "str"),
        (["00.5", "1"], "str"),
        (["+4912345678", "+4912345679"], "str"),
        (["12345678901234567890", "1"], "str"),
        (["123456789012345678", "1"], "int64"),
        (["1e400", "1"], "str"),
        (["1,5", "2,5"], "str"),
        (["1,234", "2,345"], "str"),
        (["1_000", "2"], "str"),
        (["0x10", "2"], "str"),
        (["12%", "2"], "str"),
        (["true", "1"], "str"),
        (["yes", "no"], "str"),
        (["2026-01-31", "2026-02-28"], "str"),
        (["NA", "US"], "str"),
        (["NA", "NA"], "str"),
        (["\uff11", "\uff12"], "str"),
    ],
)
def test_a_column_is_of_the_type_that_all_its_values_have(values: list[str], dtype: str) -> None:
    assert str(read(column(*values))["x"].dtype) == dtype


@pytest.mark.parametrize(
    "marker",
    [" ", "NA", "n/a", "N/A", "#N/A", "NULL", "null", "None", "nan", "NaN", "<NA>", "?", "-", "--", ".", "\\N", " NA "],
)
@pytest.mark.parametrize(("values", "dtype"), [(["1.5", "2", "3"], "float64"), (["true", "false", "true"], "object")])
def test_a_word_for_a_missing_value_is_missing_among_numbers_and_booleans_and_reported(
    values: list[str], dtype: str, marker: str
) -> None:
    text = column(*values, marker)

    found = read(text)["x"]

    assert str(found.dtype) == dtype
    assert found.isna().tolist() == [False, False, False, True]
    (note,) = notes_of(text)
    assert note.startswith("people.csv: x: ")
    assert note.endswith(", read as missing")


def test_the_note_counts_each_word() -> None:
    text = column("1", " ", "", "NA", "na", "?", " ")

    assert notes_of(text) == ["people.csv: x: numbers but for 2 blanks, 1 ?, 1 NA and 1 na, read as missing"]


@pytest.mark.parametrize("word", ["NA", "NULL", "?", "nan", "None", "-"])
def test_the_same_word_is_text_among_texts(word: str) -> None:
    text = column("US", word, "", "DE")

    found = read(text)["x"]

    assert found.tolist()[:2] == ["US", word]
    assert found.isna().tolist() == [False, False, True, False]
    assert notes_of(text) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([*map(str, range(9)), "unknown"], "read as text, although 9 of 10 values are numbers; line 11 has text"),
        (["1", "2", "007"], "although 2 of 3 values are numbers; line 4 has a number with leading zeros"),
        (["1", "12345678901234567890"], "line 3 has a number of more than 18 digits"),
        (["1", "1e999"], "line 3 has a number beyond the range of a float"),
        (["2026-01-31", "2026-02-30"], "line 3 has a date that does not exist"),
        (["1,5", "2,5"], "each value looks like a number with a decimal comma (see --decimal)"),
        (["1,234.5", "2,345.6"], "each value looks like a number with thousands separators (see --thousands)"),
        (["31.01.2026", "1.2.2026"], "each value looks like a date that is not written YYYY-MM-DD"),
    ],
)
def test_a_column_that_is_nearly_of_a_type_is_text_and_the_first_other_value_is_located(
    values: list[str], said: str
) -> None:
    (note,) = notes_of(column(*values))

    assert said in note


def test_categories_some_of_which_are_numbers_are_no_surprise() -> None:
    assert notes_of(column(*["0", "1", "2", "3+"] * 10)) == []


def test_a_note_gives_the_line_of_the_file_after_quoted_line_ends_and_empty_lines() -> None:
    (note,) = notes_of('x,y\n"a\nb",1\n\nc,2\nd,3\n"e",oops\n')

    assert "line 7 has text" in note


def test_infinite_numbers_are_refused_by_line_and_column() -> None:
    assert fault(column("1", "-Infinity", "2")) == (
        "people.csv, line 3, column x: an infinite number, which no model takes; leave the field empty"
    )


def test_a_column_without_any_value_is_empty_floats() -> None:
    assert read("x,y\n,1\n,2\n")["x"].dtype == np.float64


def test_dates_and_timestamps_are_parsed_where_that_is_asked_for() -> None:
    found = read("d,t\n2026-01-31,2026-01-31 12:00:00+02:00\n,2026-02-01\n", parse_dates=True)

    assert [str(dtype) for dtype in found.dtypes] == ["datetime64[us]", "datetime64[us]"]
    assert found.loc[0, "t"] == pd.Timestamp("2026-01-31 10:00")


# blanks


def test_blanks_after_separators_are_removed_where_the_header_has_them() -> None:
    found = read('id, name, note\n1, a , "x, y"\n2,  b," kept "\n3, ,\n')

    assert found.columns.tolist() == ["id", "name", "note"]
    assert found["name"].tolist()[:2] == ["a", "b"]
    assert found["note"].tolist()[:2] == ["x, y", " kept "]
    assert found.isna().to_numpy()[2].tolist() == [False, True, True]


def test_blanks_before_every_value_of_a_column_are_removed_without_such_a_header() -> None:
    text = "id,name\n1, a\n2, b\n3,\n"

    assert read(text)["name"].tolist()[:2] == ["a", "b"]
    assert notes_of(text) == ["people.csv: name: the blank before each value is removed"]


def test_blanks_of_single_values_stay() -> None:
    assert read("id,name\n1, a\n2,b \n3,c\n")["name"].tolist() == [" a", "b ", "c"]


def test_blanks_around_names_are_removed() -> None:
    assert read('" id ",\tname\n1,a\n').columns.tolist() == ["id", "name"]


# headers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,,x\n1,2,3\n", "people.csv: column 2 has no name; give each column a name"),
        ("id,, \n1,2,3\n", "columns 2 and 3 have no name"),
        ("id,x,id\n1,2,3\n", "columns 1 and 3 have the same name, id"),
        ("id,x, id\n1,2,3\n", "columns 1 and 3 have the same name, id"),
        (",x\na,1\nb,2\n", "column 1 has no name"),
        ("39,Private,39\n1,2,3\n", "columns 1 and 3 have the same name; its first line looks like data"),
    ],
)
def test_nameless_and_doubled_columns_are_named_by_position(text: str, said: str) -> None:
    assert said in fault(text)


def test_a_header_that_is_data_is_not_quoted() -> None:
    message = fault("Smith,39,39\n1,2,3\n")

    assert "Smith" not in message
    assert "39" not in message


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("numbers", [["0", "1", "2"], ["57", "3", "12"]])
def test_the_row_numbers_of_a_frame_are_left_out_with_a_note(name: str, numbers: list[str]) -> None:
    text = f"{name},x\n" + "".join(f"{number},a\n" for number in numbers)

    assert read(text).columns.tolist() == ["x"]
    assert notes_of(text) == ["people.csv: the first column, row numbers without a name, is left out"]
    if name:
        assert read(text, keep=[name]).columns.tolist() == [name, "x"]


# whole files


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "people.csv is not a CSV file: it is empty"),
        (b"\n \n", "it is empty"),
        (b"\x1a", "it is empty"),
        (b"\n\x1a\x1a", "it is empty"),
        ("\x1a".encode("utf-16"), "it is empty"),
        (b"sep=;\n", "it has no line with the names of the columns"),
        (b"sep=;\r\n\r\n\x1a", "it has no line with the names of the columns"),
        (b" \n1\n2\n", "column 1 has no name"),
        (b"a,b\n\x1a", "people.csv has a header and no rows"),
        (b"a,b\n", "people.csv has a header and no rows"),
        (b"a,b", "people.csv has a header and no rows"),
        (b"a,b\n1,2\n3\n", "people.csv, line 3: 1 field, and the header has 2 names"),
        (b"a,b\n1,2\n\n3,4,5\n", "people.csv, line 4: 3 fields, and the header has 2 names"),
        (b'a,b\n"1\n2",2\n3\n', "people.csv, line 4: 1 field"),
        (b'a,b\n1,"2\n3,4\n', "people.csv, line 2"),
        (b"a;b\n1,5;2\n", "try --separator ';'"),
        (b"a\tb\n1,5\t2\n", "try --separator tab"),
        ("a\nü\né".encode("latin-1"), "people.csv, line 2: the text is not valid UTF-8; give the file's encoding"),
        ("a\nb\n".encode("utf-16-le"), "line 1: a NUL character"),
        (b"a,b\n1,\0\n", "people.csv, line 2: a NUL character"),
        (b"PK\x03\x04rest", "a ZIP archive or an Excel workbook; save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"),
        (b"%PDF-1.7", "a PDF document"),
        (b"SQLite format 3\0", "an SQLite database"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-6], "compressed by gzip and damaged or truncated"),
        (b"PAR1truncated", "cannot be read as Parquet"),
        (bytes(range(256)) * 10, "people.csv, line 1: a NUL character"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name_line_and_reason(content: bytes, said: str) -> None:
    assert said in fault(content)


def test_a_file_that_only_its_name_calls_parquet_is_named() -> None:
    assert "is not a Parquet file" in fault(b"a,b\n1,2\n", file=Path("people.parquet"))


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,\xc3\xa9\n",
        b"\xef\xbb\xbfa,b\r\n1,\xc3\xa9\r\n",
        b"a,b\r1,\xc3\xa9\r",
        b"\n\r\na,b\n1,\xc3\xa9\n\n\n",
        b"a,b\n1,\xc3\xa9\n\x1a",
        b'"a","b"\n"1","\xc3\xa9"',
        "a,b\n1,é\n".encode("utf-16"),
        "\ufeffa,b\n1,é\n".encode("utf-16-be"),
        "\ufeffa,b\n1,é\n".encode("utf-32-le"),
        gzip.compress(b"a,b\n1,\xc3\xa9\n", mtime=0),
        b"sep=;\r\na;b\r\n1;\xc3\xa9\r\n",
    ],
)
def test_the_same_rows_are_read_from_every_form_that_says_what_it_is(content: bytes) -> None:
    pd.testing.assert_frame_equal(read(content), pd.DataFrame({"a": [1], "b": pd.Series(["é"], dtype="str")}))


def test_encoding_separator_and_decimal_sign_are_what_the_options_say() -> None:
    form = FileFormat.of("cp1252", ";", ",", ".")

    found = read("name;amount\nMüller;1.234,5\nWeiß;-0,25\n".encode("cp1252"), form=form)

    assert found["name"].tolist() == ["Müller", "Weiß"]
    assert found["amount"].tolist() == [1234.5, -0.25]


def test_a_point_is_no_decimal_sign_where_a_comma_is() -> None:
    assert str(read("x\n1.5\n2.5\n", form=FileFormat.of(None, ";", ",", None))["x"].dtype) == "str"
    assert str(read("x\n1\n2\n1.5\n", form=FileFormat.of(None, ";", ",", None))["x"].dtype) == "str"


def test_files_named_tsv_are_separated_by_tabs() -> None:
    assert read("a\tb\n1\t2\n", file=Path("people.tsv")).columns.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("base64", None, ".", None), "--encoding 'base64': no such encoding"),
        (("nonsense", None, ".", None), "--encoding 'nonsense': no such encoding"),
        ((None, ";;", ".", None), "--separator: expected one character"),
        ((None, "", ".", None), "--separator: expected one character"),
        ((None, '"', ".", None), "--separator: expected one character"),
        ((None, None, ";", None), "--decimal: expected"),
        ((None, None, ".", "."), "--thousands: expected one of"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: tuple[Any, ...], said: str) -> None:
    with pytest.raises(InputFault, match=said):
        FileFormat.of(*options)


def test_fields_may_be_longer_than_a_block() -> None:
    assert len(read("x,y\n" + "a" * 3_000_000 + ",1\n")["x"][0]) == 3_000_000
    assert len(read('x,y\n"' + "a\n" * 1_500_000 + '",1\n')["x"][0]) == 3_000_000


def rows_or_fault(content: bytes) -> str | None:
    """What is wrong with the content, where anything is."""
    try:
        assert len(read(content))
    except InputFault as refused:
        return str(refused)
    return None


@given(st.binary(max_size=400))
def test_any_bytes_are_rows_or_a_fault_of_the_input(content: bytes) -> None:
    assert (rows_or_fault(content) or "people.csv").startswith("people.csv")


def test_a_byte_order_mark_inside_a_file_is_part_of_its_field() -> None:
    assert list(read("a\n\ufeff\n".encode())["a"]) == ["\ufeff"]
    assert list(read("a\n\ufeffx\ny\n".encode())["a"]) == ["\ufeffx", "y"]


@given(st.lists(st.sampled_from([*'a1 ,";\n\r\t.-é?', "\x1a", "\ufeff", "\x0b", "sep=;\n"]), max_size=60).map("".join))
def test_any_text_is_rows_or_a_fault_of_the_input(text: str) -> None:
    assert (rows_or_fault(text.encode()) or "people.csv").startswith("people.csv")
