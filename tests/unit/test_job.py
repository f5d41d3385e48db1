"""Job files: what is read from them, and every way in which one can be wrong."""

from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from batch_scoring.domain.durations import parse_duration
from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import job_names, load_job, load_jobs, read_job
from batch_scoring.domain.names import OWN_COLUMNS, TableName
from batch_scoring.errors import ConfigurationError, ExitCode, Problem, UnknownJob

SOURCE = '[source]\ntable = "invoices"\nkey = ["invoice_id"]\n'
MODEL = '[model]\nname = "late_payment"\n'
PREDICTIONS = '[predictions]\npositive_label = "late"\n'
MINIMAL = SOURCE + MODEL + PREDICTIONS


def write(folder: Path, text: str, name: str = "invoices") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return file


def read(folder: Path, text: str) -> Job:
    return read_job(write(folder, text))


def problems_of(folder: Path, text: str) -> tuple[Problem, ...]:
    """The problems of a job file that must have some."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    return caught.value.problems


def only_problem(folder: Path, text: str) -> Problem:
    (problem,) = problems_of(folder, text)
    return problem


def test_the_shipped_job_reads(loan_job: Job) -> None:
    assert loan_job.name == "loan_eligibility"
    assert loan_job.source.table_name == TableName(None, "applicants")
    assert loan_job.source.key == ["Loan_ID"]
    assert loan_job.source.changed_at == "updated_at"
    assert (loan_job.model.name, loan_job.model.alias) == ("loan_eligibility", "champion")
    assert loan_job.predictions.positive_label == "Y"
    assert (loan_job.run.chunk_rows, loan_job.run.workers) == (None, 1)
    assert loan_job.run.stalled_after == timedelta(minutes=5)
    assert loan_job.schedule is not None
    assert loan_job.schedule.cron == "*/15 * * * *"
    assert loan_job.training.sums == {"TotalIncome": ["ApplicantIncome", "CoapplicantIncome"]}


def test_what_a_job_leaves_out_has_the_documented_defaults(tmp_path: Path) -> None:
    job = read(tmp_path, MINIMAL)

    assert job.source.changed_at is None
    assert job.model.alias == "champion"
    assert job.model.unseen_categories == "score"
    assert (job.predictions.table, job.predictions.kind) == ("predictions", "binary")
    assert (job.predictions.threshold, job.predictions.max_quarantined) == (None, 0.05)
    assert (job.run.chunk_rows, job.run.workers, job.run.bulk) == (None, 1, "auto")
    assert job.run.stalled_after == timedelta(minutes=5)
    assert job.schedule is None


def test_a_job_is_named_after_its_file(tmp_path: Path) -> None:
    assert read_job(write(tmp_path, MINIMAL, "late-payers_2")).name == "late-payers_2"


def test_a_job_cannot_be_changed(loan_job: Job) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        loan_job.run.chunk_rows = 1


def test_a_job_travels_to_another_process_unchanged(loan_job: Job) -> None:
    assert pickle.loads(pickle.dumps(loan_job)) == loan_job


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [("t", None, "t"), ("s.t", "s", "t"), ("s.t.u", "s", "t.u"), ("Übersicht", None, "Übersicht")],
)
def test_a_table_may_have_a_schema(text: str, schema: str | None, name: str) -> None:
    assert TableName.parse(text) == TableName(schema, name)
    assert str(TableName.parse(text)) == text


def test_three_faults_are_three_problems_each_with_file_key_and_what_was_expected(tmp_path: Path) -> None:
    text = (
        '[source]\nkey = ["invoice_id"]\ntable = 5\n'
        + MODEL
        + PREDICTIONS
        + "threshold = 1.5\n"
        + '[run]\nstalled_after = "soon"\n'
    )

    problems = problems_of(tmp_path, text)

    assert {problem.where for problem in problems} == {str(tmp_path / "invoices.toml")}
    expected = {problem.key: problem.message for problem in problems}
    assert expected == {
        "source.table": "expected a valid string, found 5",
        "predictions.threshold": "expected less than or equal to 1, found 1.5",
        "run.stalled_after": 'expected a duration such as "30 seconds", "5 minutes" or "2 days"',
    }


def test_the_error_shows_one_line_for_each_problem_and_exits_as_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, MINIMAL + "thresold = 0.4\n[run]\nchunk_rows = 0\n")

    file = tmp_path / "invoices.toml"
    assert str(caught.value).splitlines() == [
        f"{file}: predictions.thresold: is not a known key; remove it or correct its spelling",
        f"{file}: run.chunk_rows: expected greater than or equal to 1, found 0",
    ]
    assert caught.value.exit_code is ExitCode.WRONG_USAGE


def test_a_name_key_does_not_hide_the_other_problems(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, 'name = "other"\n' + MINIMAL + "threshold = 2\n")

    assert {problem.key for problem in problems} == {"name", "predictions.threshold"}


def test_two_rules_broken_in_one_section_are_two_problems(tmp_path: Path) -> None:
    source = '[source]\ntable = "invoices"\nkey = ["a", "a"]\nchanged_at = "at"\nlookback = "2 days"\n'

    problems = problems_of(tmp_path, source + MODEL + PREDICTIONS)

    assert len(problems) == 2


def test_a_misspelt_key_does_not_hide_a_broken_rule_of_its_section(tmp_path: Path) -> None:
    source = '[source]\ntable = "invoices"\nkey = ["score"]\nwehre = "x = 1"\n'

    problems = problems_of(tmp_path, source + MODEL + PREDICTIONS)

    assert {problem.key for problem in problems} == {"source.wehre", "source.key"}


def test_broken_toml_is_one_problem_that_says_where(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "[source]\ntable = \n")

    assert problem.where == str(tmp_path / "invoices.toml")
    assert problem.message.startswith("is not valid TOML:")
    assert "line 2" in problem.message


def test_a_file_that_is_no_utf8_is_not_valid_toml(tmp_path: Path) -> None:
    file = tmp_path / "invoices.toml"
    file.write_bytes(b'[source]\ntable = "\xff"\n')

    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        read_job(file)


def test_a_folder_named_like_a_job_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "invoices.toml").mkdir()

    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_job(tmp_path / "invoices.toml")


@pytest.mark.parametrize("name", ["my job", "-a", "_a", "a.b", "é", "a" * 64, "a;b", "a\n", "", ".hidden"])
def test_a_file_whose_name_is_no_job_name_is_to_be_renamed(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, MINIMAL, name)

    with pytest.raises(ConfigurationError, match="rename the file") as caught:
        read_job(file)
    assert caught.value.problems[0].where == str(file)


@pytest.mark.parametrize("name", ["a", "A1", "9lives", "a-b_c", "a" * 63])
def test_letters_digits_and_dashes_name_a_job(tmp_path: Path, name: str) -> None:
    assert read_job(write(tmp_path, MINIMAL, name)).name == name


def test_a_job_does_not_name_itself(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, 'name = "other"\n' + MINIMAL)

    assert (problem.key, problem.message) == ("name", "a job is named after its file; remove this key")


@pytest.mark.parametrize("section", ["source", "model", "predictions", "run", "training"])
def test_an_unknown_key_is_named_with_its_section(tmp_path: Path, section: str) -> None:
    sections = {"source": SOURCE, "model": MODEL, "predictions": PREDICTIONS, "run": "[run]\n"}
    sections |= {"training": "[training]\n"}
    sections[section] += "colour = 1\n"

    problem = only_problem(tmp_path, "".join(sections.values()))

    assert problem.key == f"{section}.colour"
    assert "not a known key" in problem.message


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, MINIMAL + '[schedul]\ncron = "* * * * *"\n')

    assert (problem.key, "not a known key" in problem.message) == ("schedul", True)


def test_an_empty_file_misses_all_three_sections(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "")

    assert [(problem.key, problem.message) for problem in problems] == [
        ("source", "is missing"),
        ("model", "is missing"),
        ("predictions", "is missing"),
    ]


@pytest.mark.parametrize("missing", ["source.table", "source.key", "model.name"])
def test_a_missing_key_is_named_with_its_section(tmp_path: Path, missing: str) -> None:
    key = missing.partition(".")[2]
    lines = [line for line in (SOURCE + MODEL).splitlines() if not line.startswith(f"{key} =")]

    problem = only_problem(tmp_path, "\n".join(lines) + "\n" + PREDICTIONS)

    assert (problem.key, problem.message) == (missing, "is missing")


@pytest.mark.parametrize("table", ["", "a.", ".a", ".", "a\\u0000b"])
def test_a_table_name_with_an_empty_part_is_refused(tmp_path: Path, table: str) -> None:
    assert only_problem(tmp_path, MINIMAL.replace('"invoices"', f'"{table}"')).key == "source.table"


def test_a_long_value_is_shown_shortened(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, MINIMAL + f'kind = "{"x" * 500}"\n')

    assert problem.key == "predictions.kind"
    assert len(problem.message) < 200


@pytest.mark.parametrize("column", sorted(OWN_COLUMNS))
def test_a_key_named_like_a_column_of_the_predictions_is_refused(tmp_path: Path, column: str) -> None:
    for spelling in (column, column.upper()):
        problem = only_problem(tmp_path, MINIMAL.replace("invoice_id", spelling))

        assert problem.key == "source.key"
        assert column in problem.message


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("[]", "source.key"),
        ('["a", "a"]', "source.key"),
        ('"a"', "source.key"),
        ('["a", ""]', "source.key.1"),
        ('["a", 1]', "source.key.1"),
    ],
)
def test_a_key_is_a_list_of_columns_each_named_once(tmp_path: Path, key: str, where: str) -> None:
    assert only_problem(tmp_path, MINIMAL.replace('["invoice_id"]', key)).key == where


def test_key_columns_that_differ_in_case_are_two(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL.replace('["invoice_id"]', '["a", "A"]')).source.key == ["a", "A"]


@pytest.mark.parametrize("line", ['lookback = "2 days"', 'sweep = "1 day"'])
def test_lookback_and_sweep_come_together_or_not_at_all(tmp_path: Path, line: str) -> None:
    problem = only_problem(tmp_path, SOURCE + 'changed_at = "at"\n' + line + "\n" + MODEL + PREDICTIONS)

    assert problem.key == "source"
    assert problem.message == "lookback and sweep: expected both or neither"


def test_lookback_with_sweep_reads(tmp_path: Path) -> None:
    lines = 'changed_at = "at"\nlookback = "2 days"\nsweep = "1 day"\n'
    source = read(tmp_path, SOURCE + lines + MODEL + PREDICTIONS).source

    assert (source.lookback, source.sweep) == (timedelta(days=2), timedelta(days=1))


def test_lookback_needs_to_know_when_rows_were_changed(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, SOURCE + 'lookback = "2 days"\nsweep = "1 day"\n' + MODEL + PREDICTIONS)

    assert (problem.key, "changed_at" in problem.message) == ("source.lookback", True)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30 seconds", timedelta(seconds=30)),
        ("90s", timedelta(seconds=90)),
        ("5 minutes", timedelta(minutes=5)),
        ("1 minute", timedelta(minutes=1)),
        ("15 min", timedelta(minutes=15)),
        ("15 mins", timedelta(minutes=15)),
        ("2m", timedelta(minutes=2)),
        ("1.5 hours", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("2 days", timedelta(days=2)),
        ("2 DAYS", timedelta(days=2)),
        (" 1 w ", timedelta(weeks=1)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "5", "minutes", "5 fortnights", "-5 minutes", "5 minutes ago", "1,5 hours", 5, None]
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0 s", "0.0 minutes", "0.0000001 s"])
def test_a_duration_is_longer_than_zero(text: str) -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["500 ms", "500ms", "5 hss"])
def test_a_unit_that_is_none_is_not_taken_for_another(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        parse_duration(text)


def test_a_duration_too_long_to_hold_is_a_problem_of_the_file(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, MINIMAL + '[run]\nstalled_after = "99999999999 days"\n')

    assert problem.key == "run.stalled_after"


@pytest.mark.parametrize("section", ["run.stalled_after", "schedule.every"])
def test_a_bad_duration_is_named_with_its_key(tmp_path: Path, section: str) -> None:
    name, _, key = section.partition(".")

    problem = only_problem(tmp_path, MINIMAL + f"[{name}]\n{key} = 5\n")

    assert problem.key == section
    assert "expected a duration" in problem.message


def test_a_binary_job_needs_its_positive_label(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, SOURCE + MODEL + "[predictions]\n")

    assert problem.key == "predictions.positive_label"
    assert problem.message.startswith("expected the label whose probability is the score")


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_the_other_kinds_need_no_label(tmp_path: Path, kind: str) -> None:
    predictions = read(tmp_path, SOURCE + MODEL + f'[predictions]\nkind = "{kind}"\n').predictions

    assert (predictions.kind, predictions.positive_label) == (kind, None)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
@pytest.mark.parametrize(("name", "value"), [("positive_label", '"late"'), ("threshold", "0.5")])
def test_label_and_threshold_belong_to_binary_jobs_only(tmp_path: Path, kind: str, name: str, value: str) -> None:
    problem = only_problem(tmp_path, SOURCE + MODEL + f'[predictions]\nkind = "{kind}"\n{name} = {value}\n')

    assert problem.key == f"predictions.{name}"
    assert kind in problem.message


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, MINIMAL + 'kind = "ranking"\n')

    assert problem.key == "predictions.kind"
    assert problem.message == "expected 'binary', 'multiclass', 'regression' or 'label', found 'ranking'"


@pytest.mark.parametrize(
    ("toml", "label"), [('"Y"', "Y"), ("1", "1"), ("0", "0"), ("true", "True"), ("1.0", "1.0"), ('""', "")]
)
def test_a_positive_label_is_written_as_python_writes_the_label(tmp_path: Path, toml: str, label: str) -> None:
    assert read(tmp_path, MINIMAL.replace('"late"', toml)).predictions.positive_label == label


@pytest.mark.parametrize("name", ["threshold", "max_quarantined"])
@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "inf", "[]"])
def test_threshold_and_share_lie_between_zero_and_one(tmp_path: Path, name: str, value: str) -> None:
    assert only_problem(tmp_path, MINIMAL + f"{name} = {value}\n").key == f"predictions.{name}"


@pytest.mark.parametrize("value", ["0", "1", "0.5"])
def test_threshold_and_share_include_their_ends(tmp_path: Path, value: str) -> None:
    predictions = read(tmp_path, MINIMAL + f"threshold = {value}\nmax_quarantined = {value}\n").predictions

    assert predictions.threshold == predictions.max_quarantined == float(value)


@pytest.mark.parametrize("value", ["0", "-1", "10000001", "1.5", "true", '"5"'])
def test_chunk_rows_is_a_whole_number_of_rows(tmp_path: Path, value: str) -> None:
    assert only_problem(tmp_path, MINIMAL + f"[run]\nchunk_rows = {value}\n").key == "run.chunk_rows"


@pytest.mark.parametrize("name", ["", "../model", "a/b", "-a", ".a", "a b", "é", "a" * 101])
def test_a_model_name_is_a_folder_name_and_nothing_more(tmp_path: Path, name: str) -> None:
    assert only_problem(tmp_path, MINIMAL.replace("late_payment", name)).key == "model.name"


@pytest.mark.parametrize("alias", ["", "9", "a b", "a.b", "-a"])
def test_an_alias_is_a_word_and_no_version(tmp_path: Path, alias: str) -> None:
    text = SOURCE + MODEL + f'alias = "{alias}"\n' + PREDICTIONS

    assert only_problem(tmp_path, text).key == "model.alias"


def test_what_to_do_with_unseen_categories_is_score_or_quarantine(tmp_path: Path) -> None:
    text = SOURCE + MODEL + 'unseen_categories = "{}"\n' + PREDICTIONS

    assert read(tmp_path, text.format("quarantine")).model.unseen_categories == "quarantine"
    assert only_problem(tmp_path, text.format("ignore")).message == "expected 'score' or 'quarantine', found 'ignore'"


@pytest.mark.parametrize("lines", ['cron = "* * * * *"\nevery = "5 minutes"\n', ""])
def test_a_schedule_has_cron_or_every_and_not_both(tmp_path: Path, lines: str) -> None:
    problem = only_problem(tmp_path, MINIMAL + "[schedule]\n" + lines)

    assert (problem.key, problem.message) == ("schedule", "cron and every: expected exactly one of them")


@pytest.mark.parametrize("cron", ["* * * *", "0 * * * * *", "@hourly", ""])
def test_cron_has_five_fields(tmp_path: Path, cron: str) -> None:
    problem = only_problem(tmp_path, MINIMAL + f'[schedule]\ncron = "{cron}"\n')

    assert problem.key == "schedule.cron"
    assert "five fields" in problem.message


@pytest.mark.parametrize("cron", ["99 * * * *", "a b c d e", "*/0 * * * *"])
def test_cron_fields_are_in_their_ranges(tmp_path: Path, cron: str) -> None:
    assert only_problem(tmp_path, MINIMAL + f'[schedule]\ncron = "{cron}"\n').key == "schedule.cron"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../UTC", "Europe", "UTC+1", "/etc/passwd"])
def test_an_unknown_time_zone_is_refused(tmp_path: Path, zone: str) -> None:
    problem = only_problem(tmp_path, MINIMAL + f'[schedule]\nevery = "1 h"\ntimezone = "{zone}"\n')

    assert problem.key == "schedule.timezone"
    assert "IANA time zone" in problem.message


def test_a_known_time_zone_reads(tmp_path: Path) -> None:
    schedule = read(tmp_path, MINIMAL + '[schedule]\nevery = "30 s"\ntimezone = "Europe/Berlin"\n').schedule

    assert schedule is not None
    assert (schedule.every, schedule.timezone) == (timedelta(seconds=30), "Europe/Berlin")


def test_a_sum_adds_two_columns_or_more(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, MINIMAL + '[training]\nsums = { total = ["net"] }\n')

    assert problem.key == "training.sums.total"


def test_jobs_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path, MINIMAL + f'table = "{name}"\n', name)
    (tmp_path / "notes.txt").write_text("no job")

    assert [job.name for job in load_jobs(tmp_path)] == ["a", "b", "c"]
    assert job_names(tmp_path) == ["a", "b", "c"]


def test_a_folder_that_is_not_there_has_no_jobs(tmp_path: Path) -> None:
    assert load_jobs(tmp_path / "nowhere") == []


def test_the_problems_of_all_files_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "threshold = 2\n", "a")
    write(tmp_path, "[source\n", "b")
    write(tmp_path, MINIMAL, "c d")
    write(tmp_path, MINIMAL, "sound")

    with pytest.raises(ConfigurationError) as caught:
        load_jobs(tmp_path)

    assert [Path(problem.where).name for problem in caught.value.problems] == ["a.toml", "b.toml", "c d.toml"]


def test_two_jobs_may_not_share_a_predictions_table(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "first")
    write(tmp_path, MINIMAL, "second")

    with pytest.raises(ConfigurationError) as caught:
        load_jobs(tmp_path)

    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (str(tmp_path / "second.toml"), "predictions.table")
    assert "predictions table of job first too" in problem.message


def test_a_shared_table_is_reported_beside_the_problems_of_other_files(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "threshold = 2\n", "broken")
    write(tmp_path, MINIMAL, "first")
    write(tmp_path, MINIMAL, "second")

    with pytest.raises(ConfigurationError) as caught:
        load_jobs(tmp_path)

    assert [problem.key for problem in caught.value.problems] == ["predictions.threshold", "predictions.table"]


def test_an_unknown_job_names_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "first")
    write(tmp_path, MINIMAL, "second")

    with pytest.raises(UnknownJob, match=r"no job 'third' .*jobs there: first, second") as caught:
        load_job(tmp_path, "third")
    assert caught.value.exit_code is ExitCode.WRONG_USAGE


def test_an_unknown_job_in_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownJob, match=r"jobs there: none.*set BATCH_SCORING_JOBS_DIR"):
        load_job(tmp_path, "first")


@pytest.mark.parametrize("name", ["../outside", "sub/inside", "", ".", "first.toml"])
def test_a_path_is_not_the_name_of_a_job(tmp_path: Path, name: str) -> None:
    jobs = tmp_path / "jobs"
    (jobs / "sub").mkdir(parents=True)
    write(tmp_path, MINIMAL, "outside")
    write(jobs / "sub", MINIMAL, "inside")
    write(jobs, MINIMAL, "first")

    with pytest.raises(UnknownJob):
        load_job(jobs, name)


def test_one_job_loads_though_another_is_broken(tmp_path: Path) -> None:
    write(tmp_path, "[source\n", "broken")
    write(tmp_path, MINIMAL, "sound")

    assert load_job(tmp_path, "sound").name == "sound"
