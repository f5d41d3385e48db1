"""Files that commands write take the place of a link, and a failure leaves what was there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batch_scoring.demo.main_job import run_demo
from batch_scoring.errors import InputFault
from batch_scoring.files.written import written


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim.txt", tmp_path / "out.csv"
    victim.write_text("precious", encoding="utf-8")
    link.symlink_to(victim)
    with written(link) as file:
        file.write("ours")
    assert (victim.read_text(encoding="utf-8"), link.read_text(encoding="utf-8")) == ("precious", "ours")
    assert not link.is_symlink()


def test_a_failure_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before", encoding="utf-8")

    def fail() -> None:
        with written(out) as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("out.csv", "before")]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with written(tmp_path / "out.csv") as file:
            file.write("x")
    finally:
        os.umask(before)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    with written(pipe) as file:
        file.write("through")
    reader.join(timeout=10)
    assert read == ["through"]
    assert pipe.is_fifo()


def test_standard_output_is_no_file_to_replace(tmp_path: Path) -> None:
    code = "from pathlib import Path; from batch_scoring.files.written import written\n"
    code += "with written(Path('/dev/stdout')) as file: file.write('shown')"
    with (tmp_path / "shown").open("w") as shown:
        subprocess.run([sys.executable, "-c", code], stdout=shown, check=True)
    assert (tmp_path / "shown").read_text(encoding="utf-8") == "shown"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("name", ["jobs", "artifacts", "batch_scoring.db", "jobs/loan_eligibility.toml"])
def test_the_demo_refuses_a_folder_with_links(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    link = tmp_path / "demo" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(InputFault, match=r"is a symbolic link.*remove it"):
        run_demo(tmp_path / "demo", lambda _text: None)
    assert list(victim.iterdir()) == []
