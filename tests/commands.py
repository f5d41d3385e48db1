"""Commands as processes that find their libraries loaded, and what a refusal looks like."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support import REPOSITORY, Workspace

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]

FORKS = """
import json, os, sys, traceback
from batch_scoring.cli import app, main
import batch_scoring.scoring.registry, batch_scoring.model.describe, batch_scoring.scoring.runner
import batch_scoring.model.training, batch_scoring.scoring.preview, batch_scoring.scoring.chunk
import batch_scoring.store.bulk.postgresql, batch_scoring.store.bulk.sqlite
import batch_scoring.store.loading, psycopg2, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite

for line in sys.stdin:
    order = json.loads(line)
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.chdir(order["folder"])
            os.environ.clear()
            os.environ.update(order["environ"])
            sys.argv = ["batch-scoring", *order["arguments"]]
            os.dup2(os.open("in", os.O_RDONLY), 0)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            main()
        except SystemExit as exc:
            code = exc.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Each command is a process of its own, which finds its libraries loaded: seconds less for each of many."""


@contextmanager
def fork_server() -> Iterator[Command]:
    """Runs a command of a workspace as ``Workspace.cli`` does."""
    server = subprocess.Popen(
        [sys.executable, "-c", FORKS],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    orders, codes = server.stdin, server.stdout

    def run(workspace: Workspace, *arguments: str, stdin: bytes = b"") -> Done:
        folder = workspace.folder / "printed"
        folder.mkdir(exist_ok=True)
        (folder / "in").write_bytes(stdin)
        order = {"folder": str(folder), "environ": workspace.process_environ, "arguments": arguments}
        print(json.dumps(order), file=orders, flush=True)
        code = int(codes.readline())
        return Done(arguments, code, (folder / "out").read_text(), (folder / "err").read_text())

    yield run
    orders.close()
    server.wait()
    codes.close()


def said(done: Done) -> str:
    """What a command says to a person: its ``error:`` lines."""
    lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return "\n".join(lines)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """The command ended with the code and said the words, without a result and without a traceback."""
    assert_no_traceback(done)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in said(done)


def assert_no_traceback(done: Done) -> None:
    """The command was not ended by an error nobody foresaw."""
    assert "Traceback" not in done.stderr, done.stderr.splitlines()[-1]
