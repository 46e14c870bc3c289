"""A real PostgreSQL server in a temporary folder, from Debian's binaries, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.experiments_tests.waiting import free_port

USER, PASSWORD = "pricestack", "s3cret-word"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
MISSING = "" if BINARIES else "no PostgreSQL server in /usr/lib/postgresql: apt-get install postgresql"
"""Why there can be no server here; empty where there can."""


class Server:
    """Listens on 127.0.0.1, where it wants the password, and on a socket in its folder, where it wants none."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder, self._bin = folder, BINARIES[-1].parent
        self.port = free_port()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam("postgres")
            for path in (folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "--pgdata", folder / "data", "--username", USER, "--pwfile", secret, "--no-sync",
            "--auth-local", "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
        )  # fmt: skip
        self._options = f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1 {' '.join(options)}"
        self.start()

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._control("start", "-o", self._options)

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: connections break, and the next start recovers from the log."""
        self._control("stop", "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        self._control("restart", "-m", mode, "-o", self._options)

    def create(self, database: str) -> str:
        """A new database; its URL."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        return self.url(database)

    def _control(self, *arguments: object) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", *arguments)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # pg_ctl's server keeps what it inherits: a pipe would never be closed.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextmanager
def server(options: Sequence[str] = ("-c fsync=off",)) -> Iterator[Server]:
    """A server while the block runs. Without fsync it is quick, and a crash of the server alone still loses nothing."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # pytest's own folders are closed to other users
    try:
        running = Server(folder, options)
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
