"""What the tests, `record` and `picture` share: a real server of their own, the exporters, a Prometheus, and work for them.

Everything that a Rig starts ends with it, also when the process that holds it is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "monitoring"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PROGRAMS = CACHE / "tasker_ext" / "monitoring" / "usr" / "bin"  # scripts/deps test unpacks them there
THROWAWAY = os.environ.get("TASKER_THROWAWAY_SERVER") or str(ROOT / "scripts" / "throwaway-server")
T = TypeVar("T")
SLOW = float(os.environ.get("TASKER_SLOW") or 1)


def patience(seconds: float) -> float:
    """A limit in wall-clock time, for a slow build or machine."""
    return seconds * SLOW


def wait_for(what: str, ask: Callable[[], T], seconds: float = 30, pause: float = 0.1) -> T:
    """Asks until the answer is true; what it waited for in the error."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience(seconds):.0f} s: {what}")
        time.sleep(pause)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url: str, parameters: dict[str, str] | None = None) -> str:
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(url, timeout=patience(10)) as answer:
        return answer.read().decode()


def answers(url: str) -> str:
    """What it answers; empty if it does not."""
    try:
        return get(url)
    except OSError:
        return ""


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def tasker() -> Path | None:
    """The command tasker, as it is installed beside the server's programs; TASKER_COMMAND names another."""
    config = os.environ.get("PG_CONFIG") or "/usr/lib/postgresql/15/bin/pg_config"
    folder = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
    path = Path(os.environ.get("TASKER_COMMAND") or Path(folder) / "tasker")
    return path if path.exists() else None


class Program:
    """One started program with its log."""

    def __init__(self, name: str, command: list[str | Path], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | (environment or {}), preexec_fn=end_with_parent)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def ready(self, what: str, ask: Callable[[], Any]) -> None:
        def answer() -> Any:
            assert self.process.poll() is None, f"{self.name} ended:\n{self.said()}"
            return ask()

        try:
            wait_for(what, answer)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.name} said:\n{self.said()}") from None

    def end(self, by: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(by)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Server:
    """A PostgreSQL server of our own with the library preloaded."""

    def __init__(self, *settings: str) -> None:
        base = tempfile.gettempdir() if len(tempfile.gettempdir()) <= 60 else "/tmp"
        self.folder = tempfile.mkdtemp(prefix="tasker-watch.", dir=base)
        # The guard outlives us, however we end.
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r line; exec "$0" remove "$1"', THROWAWAY, self.folder], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.settings = ["shared_preload_libraries=tasker_ext", "max_connections=100", "max_worker_processes=100", *settings]
        self.run("start", *(word for setting in self.settings for word in ("--conf", setting)))

    def run(self, action: str, *arguments: str) -> None:
        done = subprocess.run([THROWAWAY, action, *arguments, self.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, f"throwaway-server {action}: {done.stderr}"

    def connect(self, database: str = "postgres", user: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=self.folder, port=5432, user=user, dbname=database, autocommit=True)

    def url(self, database: str, user: str = "exporter") -> str:
        """As lib/pq reads it; a hanging database ends the statement, not the exporter."""
        return f"postgres://{user}@/{database}?host={self.folder}&port=5432&statement_timeout=5000"

    def create(self, database: str) -> psycopg.Connection:
        """A database with the extension, and a session of the superuser."""
        with self.connect() as session:
            session.execute(f"CREATE DATABASE {database}")
            session.execute(
                "DO $$ BEGIN CREATE ROLE exporter LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        session = self.connect(database)
        session.execute("SET client_min_messages = error; CREATE EXTENSION tasker_ext")
        session.execute("GRANT tasker_reader TO exporter")
        return session

    def remove(self) -> None:
        assert self.guard.stdin
        self.guard.stdin.close()
        self.guard.wait()


class Prometheus:
    """A Prometheus that scrapes these targets: job and addresses."""

    def __init__(self, folder: Path, targets: dict[str, list[str]], interval: str) -> None:
        self.config = yaml.safe_load((HERE / "prometheus.yml").read_text())
        self.config["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
        self.config["rule_files"] = [str(HERE / "prometheus-rules.yml")]
        jobs = []
        for job in self.config["scrape_configs"]:
            if job["job_name"] in targets:
                jobs.append(job | {"static_configs": [{"targets": targets[job["job_name"]]}]})
        assert len(jobs) == len(targets), "prometheus.yml has not every job"
        self.config["scrape_configs"] = jobs
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self.config))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self.program = Program(
            "prometheus",
            [PROGRAMS / "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}",
             f"--web.listen-address={address}", "--log.level=warn", "--storage.tsdb.retention.time=1d"],
            folder / "prometheus.log")
        self.program.ready("Prometheus is ready", lambda: answers(f"{self.url}/-/ready"))

    def ask(self, path: str, **parameters: str) -> Any:
        try:
            answer = json.loads(get(f"{self.url}/api/v1/{path}", parameters))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        return self.ask("query", query=expression, **({"time": str(at)} if at else {}))["result"]

    def range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return self.ask("query_range", query=expression, start=str(start), end=str(end), step=str(step))["result"]


class Rig:
    """A folder, and what runs in it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tasker-rig."))
        self.ends: list[Callable[[], None]] = []

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for end in reversed(self.ends):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, *settings: str) -> Server:
        server = Server(*settings)
        self.ends.append(server.remove)
        return server

    def sql_exporter(self, urls: Iterable[str], interval: str = "1s") -> tuple[Program, str]:
        """Debian's, with our query file: only how often and which databases differ. And its address."""
        text = (HERE / "prometheus-sql-exporter.yml").read_text()
        urls = list(urls)
        environment = {}
        if len(urls) == 1:
            environment = {"TASKER_URL": urls[0]}
        else:
            text = re.sub(r"( *)- '\{\{TASKER_URL\}\}'", lambda found: "\n".join(f"{found[1]}- '{url}'" for url in urls), text)
        text, found = re.subn(r"^( *interval:) \S+$", rf"\1 {interval}", text, flags=re.M)
        assert found == 1
        number = len(list(self.folder.glob("sql-exporter*.yml")))
        file = self.folder / f"sql-exporter{number}.yml"
        file.write_text(text)
        address = f"127.0.0.1:{free_port()}"
        program = Program(
            "prometheus-sql-exporter",
            [PROGRAMS / "prometheus-sql-exporter", "-config.file", file, "-web.listen-address", address],
            self.folder / f"sql-exporter{number}.log", environment)
        self.ends.append(program.end)
        program.ready("the first reading", lambda: 'metric="tasker_read_time_seconds"' in answers(f"http://{address}/metrics"))
        return program, address

    def exporter(self, server: Server, database: str) -> tuple[Program, str]:
        """`tasker exporter`, and its address."""
        command = tasker()
        assert command, "the command tasker is not installed: scripts/install-extension"
        address = f"127.0.0.1:{free_port()}"
        program = Program(
            "tasker exporter",
            [command, "exporter", "--dsn", f"host={server.folder} port=5432 user=exporter dbname={database}", "--listen", address],
            self.folder / f"exporter-{address}.log")
        self.ends.append(program.end)
        program.ready("the exporter answers", lambda: "tasker_up 1" in answers(f"http://{address}/metrics"))
        return program, address

    def prometheus(self, targets: dict[str, list[str]], interval: str = "1s") -> Prometheus:
        prometheus = Prometheus(self.folder, targets, interval)
        self.ends.append(prometheus.program.end)
        return prometheus


# --- Work

TEMPLATES = [
    """
name: order
namespace_name: shop
version: 1.0.0
steps:
  - {name: reserve, handler: shop.reserve}
  - {name: charge, handler: shop.charge, depends_on_steps: [reserve], retry: {max_attempts: 2}}
  - {name: ship, handler: shop.ship, depends_on_steps: [charge]}
""",
    """
name: invoice
namespace_name: billing
version: 2.0.0
steps:
  - {name: render, handler: billing.render}
  - {name: send, handler: billing.send, depends_on_steps: [render]}
""",
]


def register(session: psycopg.Connection) -> None:
    for template in TEMPLATES:
        session.execute("SELECT tasker.register_template(%s)", [template])


def work(session: psycopg.Connection, worker: str, namespaces: list[str], fails: Callable[[str], str | None], batch: int = 10) -> int:
    """Claims once and reports; `fails` gives the class of the error of a step, or None. How many it claimed."""
    claims = session.execute(
        "SELECT step_uuid, claim_number, step_name FROM tasker.claim_steps(%s, %s, %s)", [worker, namespaces, batch]).fetchall()
    reports: list[dict[str, Any]] = []
    for step, number, name in claims:
        report: dict[str, Any] = {"step_uuid": str(step), "claim_number": number}
        error = fails(name)
        if error:
            reports.append(report | {
                "status": "error", "retryable": False, "error_class": error, "error_message": f"{name} did not work"})
        else:
            reports.append(report | {"status": "complete", "results": {}})
    if reports:
        session.execute("SELECT * FROM tasker.report_steps(%s, %s::jsonb)", [worker, json.dumps(reports)]).fetchall()
    return len(claims)


class Beside(threading.Thread):
    """Does something again and again, on a session of its own, until it is told to stop."""

    def __init__(self, pause: float, act: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.pause, self.act, self.stopping = pause, act, threading.Event()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.act()
                self.stopping.wait(self.pause)
        except Exception as error:  # noqa: BLE001: it is raised in stop()
            self.error = error

    def stop(self) -> None:
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error
