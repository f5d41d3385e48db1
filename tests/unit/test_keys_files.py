"""Files of keys as spreadsheets, databases and editors write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_scoring.cli.keys import read_keys
from batch_scoring.errors import InputFault

ONE = ("Loan_ID",)
TWO = ("branch", "id")


def _read(tmp_path: Path, content: str | bytes, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    file = tmp_path / "keys.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_keys(str(file), names)


@pytest.mark.parametrize(
    "content",
    [
        "Loan_ID\nLP1\nLP2\n",
        "Loan_ID;note\r\nLP1;a,b\r\nLP2;\r\n",
        'note;Loan_ID\nfirst;LP1\n"a;b";LP2\n',
        "note\tLoan_ID\nx\tLP1\ny\tLP2\n",
        "Loan_ID|note\nLP1|x\nLP2|y\n",
        "LOAN_ID;Comment\nLP1;x\nLP2;y\n",
        "loan_id\nLP1\nLP2",
        " Loan_ID , note\n LP1 , x\n LP2 , y\n",
        "sep=;\r\nLoan_ID;note\r\nLP1;x\r\nLP2;y\r\n",
        '"sep=;"\r\nLoan_ID;note\r\nLP1;x\r\nLP2;y\r\n',
        "sep=\t\nLP1\t\nLP2\t\n",
        '"Loan_ID","note"\n"LP1","a ""b"""\n"LP2","line\nbreak"\n',
        "# checked by risk\n#\n\nLoan_ID\nLP1\nLP2\n",
        "# checked by risk\nLP1\nLP2\n",
        "LP1;;\nLP2;;\n".replace(";", ","),
        "Loan_ID\rLP1\rLP2\r",
        "\n\n  \nLP1\n\nLP2\n\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_same_keys_are_read_from_a_file_of_any_form(tmp_path: Path, content: str, encoding: str) -> None:
    assert _read(tmp_path, content.encode(encoding), ONE) == (("LP1",), ("LP2",))


def test_a_big_endian_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path, b"\xfe\xff" + "Loan_ID;x\nMüller;1\n".encode("utf-16-be"), ONE) == (("Müller",),)


@pytest.mark.parametrize(
    "content",
    [
        "north;1\nsouth;2\n",
        "north\t1\nsouth\t2\n",
        "north,1\nsouth,2\n",
        "ID;Branch\n1;north\n2;south\n",
        "note,id,branch\nx,1,north\ny,2,south\n",
        "sep=|\nnorth|1\nsouth|2\n",
        "# from the branch office\nbranch\tid\nnorth\t1\nsouth\t2\n",
    ],
)
def test_keys_of_two_columns_are_read_with_the_separator_that_the_first_line_has(tmp_path: Path, content: str) -> None:
    assert _read(tmp_path, content, TWO) == (("north", "1"), ("south", "2"))


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ("#1\n#2\n", (("#1",), ("#2",))),
        ("LP1\n# LP2\n", (("LP1",), ("# LP2",))),
        ("a;b\nc;d\n", (("a;b",), ("c;d",))),
        ("a|b\n", (("a|b",),)),
        ("sep=;x\n", (("sep=;x",),)),
    ],
)
def test_what_may_be_a_key_is_not_taken_for_a_comment_or_a_separator(
    tmp_path: Path, content: str, keys: tuple[tuple[str, ...], ...]
) -> None:
    assert _read(tmp_path, content, ONE) == keys


def test_key_columns_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    assert _read(tmp_path, "ID,id\n1,2\n", ("id", "ID")) == (("2", "1"),)
    with pytest.raises(InputFault, match="line 1: has 3 fields"):
        _read(tmp_path, "Id,iD,x\n1,2,3\n", ("id", "ID"))


@pytest.mark.parametrize(
    ("content", "names", "words"),
    [
        ("branch;note\nx;y\n", TWO, "line 1: the header lacks id; the key is branch, id"),
        ("Loan_ID;Loan_ID\nx;y\n", ONE, "line 1: the header names Loan_ID more than once"),
        ("# a\n# b\nLoan_ID;x\nLP1;y\n;z\n", ONE, "line 5: expected a value for Loan_ID"),
        ("sep=;\nLoan_ID;x\nLP1;y;z\n", ONE, "line 3: has 3 fields where the header has 2"),
        ("LP1,Male\n", ONE, "line 1: has 2 fields where the key has 1"),
        ("sep=;\n", ONE, "contains no keys"),
        ("# nothing\n", ONE, "contains no keys"),
        ("Loan_ID\n", ONE, "contains no keys"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported_with_its_line(
    tmp_path: Path, content: str, names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputFault) as refused:
        _read(tmp_path, content, names)
    assert words in str(refused.value)


@settings(deadline=None)
@given(
    keys=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=6),
            st.text(st.sampled_from("ab,;|\t'\"#="), min_size=1, max_size=6),
        ).filter(lambda key: all(value.strip() == value for value in key)),
        min_size=1,
        max_size=5,
    ),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    names=st.sampled_from([("branch", "id"), ("BRANCH", "Id")]),
    has_sep=st.booleans(),
)
def test_keys_that_a_spreadsheet_writes_come_back_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    keys: list[tuple[str, str]],
    delimiter: str,
    encoding: str,
    names: tuple[str, str],
    has_sep: bool,
) -> None:
    text = io.StringIO()
    if has_sep:
        text.write(f"sep={delimiter}\r\n")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("comment", *names), *(("x", *key) for key in keys)])
    file = tmp_path_factory.getbasetemp() / "spreadsheet.csv"
    file.write_bytes(text.getvalue().encode(encoding))

    assert read_keys(str(file), TWO) == tuple(dict.fromkeys(keys))
