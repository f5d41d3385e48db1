"""Messages are for people: no words that only a program or its author knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import batch_scoring
from batch_scoring.counting import counted

PACKAGE = Path(batch_scoring.__file__).resolve().parent

MACHINE_WORDS = re.compile(
    r"<locals>|<lambda>|<class |<function |NoneType|object at 0x|Traceback|__(?!main__)\w+__|\bdtype\("
    r"|\b(?:Key|Value|Type|Attribute|Programming|Operational|Integrity|OS|Runtime)Error\b"
    r"|\bdatetime\.datetime\(|\bPosixPath\(|\bDecimal\("
)

MAY_NAME_AN_EXCEPTION = {
    "cli/output.py",  # the traceback beside it says the rest
    "files/frame.py",  # what the reader of Parquet raised
    "model/artifact.py",  # what the file's or the model's own code raised
    "model/bisection.py",
    "model/proof.py",
    "model/scorer.py",
    "scoring/challengers.py",
    "model/translation/program.py",
    "sinks/drift.py",
    "sinks/notifier.py",
    "scoring/lifecycle.py",
    "registry/registration.py",
    "scheduling/health_monitor.py",  # errors that nobody expects
    "scheduling/job_files.py",
    "scheduling/service.py",
    "store/engine/database.py",
    "store/engine/dialects/dialect.py",
    "store/engine/dialects/sqlite/errors.py",
    "store/engine/driver_errors.py",
}
"""Where ``type(exc).__name__`` is in a sentence that says what happened."""

SENTENCE = re.compile(r"[a-z]{2,} [a-z]{2,} ")


def texts(path: Path) -> Iterator[tuple[int, ast.Constant | ast.JoinedStr, str]]:
    """Strings of a module that people read: sentences, no docstrings; values in f-strings are ``{}``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, node, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented | inside:
            yield node.lineno, node, node.value


MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_no_message_holds_words_of_the_machine(path: Path) -> None:
    found = [(line, text) for line, _, text in texts(path) if SENTENCE.search(text) and MACHINE_WORDS.search(text)]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_the_class_of_an_error_is_named_only_in_sentences_that_say_what_happened(path: Path) -> None:
    for line, node, text in texts(path):
        if isinstance(node, ast.JoinedStr) and "type(exc).__name__" in ast.unparse(node):
            assert place(path) in MAY_NAME_AN_EXCEPTION, f"{place(path)}, line {line}: {text}"


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_no_sentence_is_joined_to_the_next_without_a_separator(path: Path) -> None:
    """As in ``no score movesUsage``: adjacent literals need a blank between them."""
    for line, _, text in texts(path):
        if SENTENCE.search(text):
            assert not re.search(r"[a-z]{3,}[.;,][A-Za-z]{3,} [a-z]+ |[a-z]{2,}[A-Z][a-z]+ [a-z]+ [a-z]+ ", text), (
                f"{place(path)}, line {line}: {text}"
            )


def test_a_count_is_followed_by_its_noun_in_the_right_number() -> None:
    assert counted(0, "row") == "0 rows"
    assert counted(1, "row") == "1 row"
    assert counted(2_000, "row") == "2,000 rows"
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(2, "entry", "entries") == "2 entries"
