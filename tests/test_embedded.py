"""The embedded services one by one: what `tests/test_serve.py` does not see of them."""

import json
import os
import socket
from pathlib import Path

import pytest

from media_api.storage import ImageStorage
from project import embedded
from project.embedded import Bucket, Child, NotStarted, Postgres
from project.embedded.addresses import free_port, url
from project.embedded.children import LOG_LIMIT
from tests.conftest import objects
from tests.services import FOLDER, HOST
from tests.serving import descendants, wait_until_gone


def shell(script: str, *, log: Path | None = None) -> Child:
    return Child("The shell", ["/bin/sh", "-c", script], log=log)


def test_a_child_that_ends_leaves_its_last_words(tmp_path: Path) -> None:
    child = shell("echo it broke; exit 3", log=tmp_path / "log" / "shell.log")
    child.start()
    with pytest.raises(NotStarted, match=r"The shell did not start.*it broke"):
        child.wait_until(lambda: False)
    assert child.exit_code == 3


def test_a_child_that_never_answers_is_not_waited_for() -> None:
    child = shell("sleep 60")
    child.start()
    with pytest.raises(NotStarted, match="did not answer"):
        child.wait_until(lambda: False, seconds=0.1)
    child.stop()


def test_a_child_that_does_not_listen_is_killed_with_all_of_its_group(tmp_path: Path) -> None:
    child = shell("trap '' TERM; sleep 60 & echo deaf; wait; sleep 60", log=tmp_path / "log")
    child.patience = 0.2
    child.start()
    child.wait_until(lambda: "deaf" in (tmp_path / "log").read_text())
    assert child.process
    family = descendants(child.process.pid)
    child.stop()
    assert len(family) > 1
    wait_until_gone(family)


def test_a_log_that_has_grown_long_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    for word in ("one", "two"):
        child = shell(f"echo {word}", log=log)
        child.start()
        assert child.process
        child.process.wait()
    assert log.read_text() == "one\ntwo\n"


def test_postgres_starts_over_the_lock_of_a_dead_one(tmp_path: Path) -> None:
    """A number that another process bears by now: without us, Postgres would never start again."""
    folder, sockets = tmp_path / "postgres", tmp_path / "run"
    postgres = Postgres(folder, sockets=sockets, log=tmp_path / "log", durable=False)
    postgres.start()
    postgres.stop()
    taken = f"{os.getppid()}\n{folder}\n1700000000\n5432\n{sockets}\n\n\n"
    (folder / "postmaster.pid").write_text(taken)
    (sockets / ".s.PGSQL.5432.lock").write_text(taken)
    postgres.start()
    postgres.stop()


def test_the_remains_of_a_killed_bucket_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / "root" / "shoebox" / "staging" / ".rclone_temp_put_1"
    remains.parent.mkdir(parents=True)
    remains.write_bytes(b"half")
    bucket = Bucket(
        tmp_path / "root",
        name="shoebox",
        host=HOST,
        port=free_port(HOST),
        credentials=("somebody", "something"),
        origin="http://localhost",
        log=tmp_path / "log",
    )
    bucket.start()
    bucket.stop()
    assert not remains.exists()


def test_a_prefix_outlives_its_last_object(
    storage: ImageStorage, pytestconfig: pytest.Config
) -> None:
    folder = pytestconfig.stash[FOLDER] / "bucket" / storage.bucket_name
    for key in ("staging/x", "images/x/original.jpg"):
        storage.keep(key, b"x", content_type="image/jpeg")
        storage.remove([key])
        assert (folder / key.partition("/")[0]).is_dir()
    assert objects(storage) == []


def test_a_folder_is_held_by_one_and_nobody_else_looks_into_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert not embedded.is_running(data)
    with embedded.lock(data):
        assert embedded.is_running(data)
    assert not embedded.is_running(data)
    assert data.stat().st_mode & 0o777 == 0o700


def test_a_busy_bucket_port_is_left_for_a_free_one(tmp_path: Path) -> None:
    busy = free_port(HOST)
    with socket.create_server((HOST, busy)):
        (tmp_path / "environment.json").write_text(json.dumps({"S3_ENDPOINT_URL": url(HOST, busy)}))
        chosen = embedded.configure(tmp_path, host=HOST, port=80, public_host="")
    assert chosen["S3_ENDPOINT_URL"] != url(HOST, busy)
    assert chosen == embedded.environment(tmp_path)
    assert chosen["PUBLIC_URL"] == "http://localhost"


def test_a_deep_folder_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    chosen = embedded.configure(deep, host="::", port=8000, public_host="shoebox.test")
    assert len(chosen["DATABASE_URL"]) < 100
    assert chosen["S3_ENDPOINT_URL"].startswith("http://[::1]:")
    assert chosen["S3_PUBLIC_ENDPOINT_URL"].startswith("http://shoebox.test:")
