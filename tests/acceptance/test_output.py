"""What commands print: on terminals of any width and encoding, in pipes, for programs, and where nobody reads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from command_tree import Entry, command_tree
from conftest import prepare_loans
from support import LOAN_JOB, Workspace
from terminals import in_file, on_terminal

from batch_scoring.cli.app import _READING, app, changes_something
from batch_scoring.model.training import TrainedModel

JOB = "loan_eligibility"
ENCODINGS = ("utf-8", "latin-1", "ascii")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel) -> Workspace:
    """The loan job after two runs; a row is quarantined, and a key is on hold. Tests change nothing that they read."""
    folder = tmp_path_factory.mktemp("ready")
    job = LOAN_JOB.replace("[predictions]", "[predictions]\nkeep_inputs = true")
    workspace = prepare_loans(Workspace(folder, f"sqlite:///{folder}/test.db"), loan_model, job=job)
    workspace.sql('UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = \'LP001015\'')
    workspace.run()
    values = "\"LoanAmount\" = 1, updated_at = '2099-01-01 00:00:00.000'"
    workspace.sql(f"UPDATE applicants SET {values} WHERE \"Loan_ID\" = 'LP001022'")
    workspace.run(reason="a reason that is long enough to be no part of any column of a terminal with 80 columns")
    hold = ("hold", "add", JOB, "--key", "LP001022", "--reason", "the ombudsman asked for every figure of this file")
    assert workspace.cli(*hold).returncode == 0
    return workspace


TABLES = {
    "runs": [JOB, "succeeded", "366"],
    f"runs list --job {JOB} --status succeeded": [JOB, "succeeded"],
    "status": [JOB],
    f"why {JOB} LP001022": ["LP001022", f"{JOB} v1"],
    f"quarantine list {JOB}": ["LP001015", "missing_value", "ApplicantIncome"],
    f"quarantine show {JOB} LP001015": ["LP001015", "missing_value", "ApplicantIncome"],
    "model list": [JOB, "champion"],
    f"model show {JOB} 1": ["ApplicantIncome", "Property_Area"],
    "hold list": [JOB, "Loan_ID=LP001022"],
    "runs show 1": ["succeeded", JOB],
    f"rescore {JOB} --all --dry-run": ["no score changes"],
    "check": ["ok ", JOB],
    f"replay {JOB} --run 1": ["reproduced"],
}
"""Commands that print tables, and what each of them shows whatever the width."""


def assert_whole(text: str, words: list[str]) -> None:
    """Dates, names and numbers are each in one line."""
    for word in words:
        assert word in text
    assert not re.search(r"\d{4}-\d\d-$|\d{4}-\d\d-\d\d$|\d\d:\d\d:$", text, flags=re.MULTILINE), "a broken date"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_nothing_is_broken_and_no_line_is_too_long(ready: Workspace, columns: int, encoding: str) -> None:
    for command, words in TABLES.items():
        shown = on_terminal(ready, *command.split(), columns=columns, encoding=encoding)
        assert (shown.code, "Traceback" in shown.text) == (0, False), shown.text
        assert_whole(shown.text, words)
        tokens = [line for line in shown.lines if len(line) > columns and " " in line.strip()[:columns]]
        notices = [line for line in tokens if not line.startswith("(not shown")]
        assert not notices, command
        assert shown.text.endswith("\n")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_in_a_pipe_every_column_and_text_is_there_whatever_the_width(ready: Workspace, encoding: str) -> None:
    for command, words in TABLES.items():
        found = [
            in_file(ready, *command.split(), encoding=encoding, COLUMNS=columns, TERM="xterm")
            for columns in ("40", "300")
        ]
        if command != "status":  # its age moves on
            assert found[0] == found[1], command
        assert found[0].code == 0
        assert ESCAPE not in found[0].text
        assert "..." not in found[0].text
        assert "…" not in found[0].text
        assert_whole(found[0].text, words)
        assert found[0].text.endswith("\n"), command


def test_a_narrow_terminal_shows_each_row_as_a_block_with_every_column(ready: Workspace) -> None:
    shown = on_terminal(ready, "runs", columns=50)
    assert "-[ 1 ]-" in shown.text
    assert "-[ 2 ]-" in shown.text
    block = shown.text.partition("-[ 2 ]-")[0]
    for name in ("run", "job", "trigger", "status", "mode", "started (UTC)", "superseded", "model"):
        assert re.search(rf"^{re.escape(name)}  ", block, flags=re.MULTILINE), name


def test_columns_that_a_terminal_has_no_room_for_are_named(ready: Workspace) -> None:
    shown = on_terminal(ready, "runs", columns=80)
    header = shown.lines[0]
    assert "quarantined" in header
    assert "superseded" not in header
    assert "(not shown: " in shown.text
    assert "superseded" in shown.text.partition("(not shown: ")[2]
    assert "not shown" not in on_terminal(ready, "runs", columns=200).text


@pytest.mark.slow
def test_control_characters_in_data_do_not_reach_the_terminal(tmp_path: Path, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db"), loan_model)
    workspace.run(reason="red \x1b[31m alert")
    shown = on_terminal(workspace, "runs", "show", "1", TERM="dumb")
    assert "red \\x1b[31m alert" in shown.text


@pytest.mark.slow
def test_a_promotion_is_done_and_reported_in_every_encoding(tmp_path: Path, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db"), loan_model)
    for encoding in ENCODINGS:
        shown = in_file(workspace, "model", "promote", JOB, "1", encoding=encoding)
        assert (shown.code, "Traceback" in shown.text) == (0, False)
        assert "version 1 -> version 1" in shown.text


@pytest.mark.slow
def test_json_is_intact_in_every_encoding(tmp_path: Path, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db"), loan_model)
    reason = "→ größer … 😀"
    workspace.run(reason=reason)
    for encoding in ENCODINGS:
        shown = in_file(workspace, "runs", "show", "1", "--json", encoding=encoding)
        assert json.loads(shown.text)["reason"] == reason


@pytest.mark.slow
def test_an_export_holds_keys_as_they_are_whatever_the_encoding(tmp_path: Path, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db"), loan_model)
    where = "WHERE \"Loan_ID\" = 'LP001015'"
    workspace.sql(f'UPDATE applicants SET "ApplicantIncome" = NULL, "Loan_ID" = \'→ ä 😀\' {where}')
    workspace.run()
    workspace.environ["PYTHONIOENCODING"] = "latin-1"
    exported = _new(workspace, "quarantine", "export", JOB).stdout.decode("utf-8")
    assert exported.splitlines()[1].startswith("→ ä 😀,missing_value,ApplicantIncome")


def _new(workspace: Workspace, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A command in a new interpreter, with standard streams as given."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "batch_scoring", *arguments]
    return subprocess.run(command, cwd=workspace.folder, env=workspace.process_environ, check=False, **options)


def test_a_reader_that_leaves_early_ends_nothing(ready: Workspace) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = _new(ready, "runs", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [("runs list", 1, b"error: "), (f"model promote {JOB} 1", 0, b"warning: "), (f"run {JOB} --json", 0, b"warning: ")],
)
def test_a_full_disk_fails_what_only_prints_and_nothing_that_was_done(
    ready: Workspace, arguments: str, code: int, word: bytes
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _new(ready, *arguments.split(), stdout=full)
    assert done.returncode == code
    assert word + b"the result could not be written to standard output: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_full_disk_behind_standard_error_changes_nothing(ready: Workspace) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _new(ready, "runs", "--job-that-is-no-option", stderr=full)
    assert done.returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_fail_no_command_and_reach_no_file(ready: Workspace, closed: str) -> None:
    command = f'"{sys.executable}" -m batch_scoring runs list {closed}'
    done = subprocess.run(["sh", "-c", command], env=ready.process_environ, cwd=ready.folder, check=False)
    assert done.returncode == 0
    assert Path(ready.folder / "test.db").read_bytes().startswith(b"SQLite format 3")
    assert ready.scalar("SELECT count(*) FROM scoring_runs") >= 2


def test_every_command_is_known_to_change_something_or_only_to_print() -> None:
    def paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = getattr(command, "commands", {})
        return [path] if not inner else [found for name in inner for found in paths(inner[name], (*path, name))]

    changing = {path for path in paths(typer.main.get_command(app)) if changes_something(path)}
    assert {("run",), ("rescore",), ("purge",), ("load",), ("train",), ("db", "upgrade")} <= changing
    assert not changing & _READING
    assert not changes_something(["rescore", JOB, "--all", "--dry-run"])


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_help_is_plain_where_nothing_else_is_wanted(sqlite_workspace: Workspace, environ: dict[str, str]) -> None:
    shown = on_terminal(sqlite_workspace, "rescore", "--help", columns=120, **environ)
    assert shown.code == 0
    assert ESCAPE not in shown.text
    assert "╭" not in shown.text


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("entry", command_tree(), ids=lambda entry: entry.name)
def test_every_help_screen_fits_and_names_every_option_in_full(
    sqlite_workspace: Workspace, entry: Entry, columns: int
) -> None:
    shown = on_terminal(sqlite_workspace, *entry.path, "--help", columns=columns)

    assert shown.code == 0
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.text)
    for name in entry.option_names:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name
    assert re.findall(r"(?<!\w)--?[\w-]*…", text) == []
    assert re.findall(r"%[YmdHMSzZ]", text) == [], "a time is shown as TIME with an example"
    assert max(len(line) for line in text.splitlines()) <= columns
    assert ("╭" in text) == (columns == 100)


def test_help_on_a_wide_terminal_has_panels(sqlite_workspace: Workspace) -> None:
    shown = on_terminal(sqlite_workspace, "rescore", "--help", columns=160)
    assert "╭" in shown.text
    assert "--allow-version-mismatch" in re.sub(r"\x1b\[[\d;]*m", "", shown.text)


def test_every_time_is_an_option_of_one_kind_with_an_example(sqlite_workspace: Workspace) -> None:
    for command, names in {
        "rescore": ["--scored-before", "--scored-after"],
        "purge": ["--superseded-before", "--inputs-before"],
        "replay": ["--as-of"],
        "run": ["--scheduled-for"],
        "runs list": ["--since"],
    }.items():
        text = " ".join(in_file(sqlite_workspace, *command.split(), "--help").text.split())
        for name in names:
            assert f"{name} TIME" in text
            assert "ISO 8601, UTC without an offset: 2026-07-01T12:30:00+02:00" in text.partition(f"{name} TIME")[2]


ERRORS = [
    ("runs list --job nonsense", "UnknownJob", 2),
    ("hold list nonsense", "UnknownJob", 2),
    ("status nonsense", "UnknownJob", 2),
    ("runs show 999", "InputFault", 2),
    ("runs list --status nonsense", "UsageError", 2),
    ("runs list --since yesterday", "UsageError", 2),
    ("runs --nonsense", "UsageError", 2),
    ("nonsense", "UsageError", 2),
    ("why", "UsageError", 2),
    ("model show nonsense 1", "NoSuchModel", 3),
    (f"model promote {JOB} 99", "NoSuchModel", 3),
    (f"run {JOB} --workers many", "UsageError", 2),
    (f"replay {JOB}", "InputFault", 2),
]


@pytest.mark.parametrize(("arguments", "kind", "code"), ERRORS)
def test_under_json_an_error_is_a_document_alone_on_standard_output(
    ready: Workspace, arguments: str, kind: str, code: int
) -> None:
    done = ready.cli(*arguments.split(), "--json")
    assert done.returncode == code
    assert set(json.loads(done.stdout)) == {"error"}
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["exit_code"]) == (kind, code)
    assert error["message"]
    assert f"error: {error['message'].splitlines()[0]}" in done.stderr
    assert ready.cli(*arguments.split()).stdout == ""


def test_under_json_a_configuration_error_lists_its_problems(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.environ["BATCH_SCORING_NONSENSE"] = "1"
    error = json.loads(sqlite_workspace.cli("status", "--json").stdout)["error"]
    assert error["type"] == "ConfigurationError"
    assert [problem["where"] for problem in error["problems"]] == ["BATCH_SCORING_NONSENSE"]


def test_under_json_a_run_of_the_service_that_fails_is_a_document_too(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.write_job(JOB, LOAN_JOB)
    done = sqlite_workspace.cli("run", JOB, "--scheduled-for", "2026-07-01T12:00:00Z", "--json")
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode == 1


def test_runs_are_listed_by_status_and_from_a_time(ready: Workspace) -> None:
    def listed(*arguments: str) -> list[int]:
        return [run["run_id"] for run in ready.cli_json("runs", "list", *arguments)]

    first, second = ready.query("SELECT run_id, started_at FROM scoring_runs ORDER BY run_id LIMIT 2")
    assert listed("--status", "failed") == []
    assert set(listed("--status", "failed", "--status", "succeeded")) >= {first[0], second[0]}
    assert first[0] not in listed("--since", str(second[1]))
    assert second[0] in listed("--since", str(second[1]))
    assert second[0] in listed("--since", f"{str(second[1]).replace(' ', 'T')}Z")
    assert listed("--since", "2099-01-01T00:00:00+02:00") == []
    assert first[0] in listed("--job", JOB, "--since", "2020-01-01")


def test_the_runs_of_a_job_whose_file_is_gone_are_listed(tmp_path: Path, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(Workspace(tmp_path, f"sqlite:///{tmp_path}/test.db"), loan_model)
    workspace.run()
    (workspace.jobs_dir / f"{JOB}.toml").unlink()
    assert [run["run_id"] for run in workspace.cli_json("runs", "list", "--job", JOB)] == [1]


def test_a_count_of_one_is_one_row(sqlite_workspace: Workspace) -> None:
    file = sqlite_workspace.folder / "one.csv"
    pd.DataFrame({"id": [1], "x": [2.5]}).to_csv(file, index=False)
    done = sqlite_workspace.cli("load", "one", str(file), "--key", "id")
    assert "1 row read" in done.stdout


SHELLS = {
    "bash": {"COMP_WORDS": "batch-scoring run loan", "COMP_CWORD": "2"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "batch-scoring run loan"},
    "fish": {"_TYPER_COMPLETE_ARGS": "batch-scoring run loan", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


def _completing(workspace: Workspace, instruction: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv = ['batch-scoring']; from batch_scoring.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**workspace.process_environ, "_BATCH_SCORING_COMPLETE": instruction, **environ},
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_the_names_of_jobs_without_a_database(sqlite_workspace: Workspace, shell: str) -> None:
    sqlite_workspace.write_job(JOB, LOAN_JOB)
    done = _completing(sqlite_workspace, f"complete_{shell}", SHELLS[shell])
    assert (done.returncode, done.stderr) == (0, "")
    assert JOB in done.stdout
    assert not (sqlite_workspace.folder / "test.db").exists()
    script = _completing(sqlite_workspace, f"source_{shell}", {})
    assert (script.returncode, script.stderr) == (0, "")
    assert "_BATCH_SCORING_COMPLETE" in script.stdout


def test_completion_offers_nothing_where_there_is_nothing_and_fails_never(sqlite_workspace: Workspace) -> None:
    for folder in ("/nowhere", "/proc/1/root/x", ""):
        sqlite_workspace.environ["BATCH_SCORING_JOBS_DIR"] = folder
        done = _completing(sqlite_workspace, "complete_bash", SHELLS["bash"])
        assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.slow
def test_no_command_prints_words_that_only_a_programmer_knows(ready: Workspace) -> None:
    words = re.compile(
        r"<locals>|<lambda>|<class |NoneType|object at 0x|Traceback|PosixPath|datetime\.|__\w+__|sqlstate"
    )
    for command in [*TABLES, *(arguments for arguments, _, _ in ERRORS)]:
        for suffix in ([], ["--json"]):
            done = ready.cli(*command.split(), *suffix)
            assert not words.search(done.stdout + done.stderr), command
