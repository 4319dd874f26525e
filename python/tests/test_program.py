"""The package and the program `nas-sync` on one table: what either sends, the other can verify and restore."""

import json
import logging
import os
import subprocess

import pytest

from conftest import until
from models import Document, utcnow
from nas_sync import get_nas_sync_service
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.orm import Session


@pytest.fixture
def program(backend):
    """Runs the program on the database; gives its exit status and its object."""

    def run(*arguments, **variables):
        environment = {**os.environ, "NAS_DB": backend.url, **variables}
        done = subprocess.run(
            [os.environ["NAS_SYNC_TEST_PROGRAM"], *arguments, "--json"], env=environment, capture_output=True, timeout=120
        )
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout)

    return run


def sync(backend, **settings):
    with backend.session() as db:
        return get_nas_sync_service(db, **settings).sync_all_pending(1)


def test_what_is_sent_here_is_verified_and_restored_by_the_program(durable, backend, program):
    good, altered, lost = backend.add("good.pdf", "altered.pdf", "lost.pdf", created_at=utcnow())
    assert sync(backend)["synced"] == 3
    status, report = program("verify")
    assert (status, report["total"], report["equal"]) == (0, 3, 3)
    listed = program("list")[1]["documents"]
    assert {one["id"]: (one["name"], one["level"], one["bytes"]) for one in listed} == {
        good: ("good.pdf", "verified", 8), altered: ("altered.pdf", "verified", 11), lost: ("lost.pdf", "verified", 8)
    }  # fmt: skip
    (durable / "altered.pdf").write_bytes(b"something else")
    (durable / "lost.pdf").unlink()
    status, report = program("verify")
    assert (status, report["equal"], report["differing"], report["missing"]) == (1, 1, [altered], [lost])
    for name in ("good.pdf", "altered.pdf", "lost.pdf"):
        (backend.uploads / name).unlink()
    status, report = program("restore")
    assert (status, report["total"], report["restored"], report["failed"]) == (1, 3, 1, 2)
    assert (backend.uploads / "good.pdf").read_bytes() == b"good.pdf"
    assert not (backend.uploads / "altered.pdf").exists(), "it has not the sum that was recorded"


def test_what_the_program_sends_is_restored_here_by_what_was_recorded(nas, backend, program):
    good, altered = backend.add("good.pdf", "altered.pdf")
    assert program("sync", NAS_LAYOUT="{user_id}/{id}-{name}")[1]["synced"] == 2
    assert sorted(path.name for path in (nas / "1").iterdir()) == [f"{good}-good.pdf", f"{altered}-altered.pdf"]
    (nas / "1" / f"{altered}-altered.pdf").write_bytes(b"something else")
    for name in ("good.pdf", "altered.pdf"):
        (backend.uploads / name).unlink()
    with backend.session() as db:
        documents = db.scalars(select(Document).order_by(Document.id)).unique().all()
        report = get_nas_sync_service(db).restore(documents)
    assert (report["restored"], report["failed"]) == (1, 1) and report["errors"][0].startswith(f"Document {altered}: ")
    assert (backend.uploads / "good.pdf").read_bytes() == b"good.pdf"
    assert not (backend.uploads / "altered.pdf").exists()


@pytest.mark.parametrize("first", ["package", "program"])
def test_neither_takes_a_name_from_a_document_of_the_other(nas, backend, program, first):
    (older,) = backend.add("one/scan.pdf")
    if first == "package":
        assert sync(backend)["synced"] == 1
    else:
        assert program("sync", NAS_LAYOUT="{user_id}-{name}")[1]["synced"] == 1
    (newer,) = backend.add("two/1-scan.pdf" if first == "program" else "two/scan.pdf")
    if first == "package":
        report = program("sync")[1]
        assert [one["error"]["kind"] for one in report["documents"]] == ["name_clash"]
    else:
        report = sync(backend)
        assert report["errors"] == [f"Document {newer}: its name on the NAS, '1-scan.pdf', belongs to document {older}"]
    assert report["failed"] == 1 and backend.synced() == [older]
    assert [path.read_bytes() for path in nas.iterdir()] == [b"one/scan.pdf"]


def test_what_a_worker_of_the_program_is_sending_is_left_to_it(nas, on_postgres, tmp_path):
    backend = on_postgres
    (key,) = backend.add("a.pdf")
    gate, rsync = tmp_path / "gate", tmp_path / "rsync"
    rsync.write_text(f'#!/bin/sh\nwhile [ ! -e "{gate}" ]; do sleep 0.05; done\nexec rsync "$@"\n')
    rsync.chmod(0o755)
    environment = {**os.environ, "NAS_DB": backend.url, "NAS_RSYNC_PATH": str(rsync)}

    def sql(statement):
        with backend.engine.begin() as connection:
            return connection.execute(text(statement))

    def start():
        worker = subprocess.Popen(
            [os.environ["NAS_SYNC_TEST_PROGRAM"], "sync"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until("it has its lease", lambda: inspect(backend.engine).has_table("nas_sync_leased")
              and sql("SELECT count(*) FROM nas_sync_leased").scalar_one() == 1)  # fmt: skip
        return worker

    worker = start()
    try:
        (other,) = backend.add("b.pdf")
        report = sync(backend)
        assert (report["total"], report["synced"]) == (1, 1) and backend.synced() == [other]
        with backend.session() as db:
            said = get_nas_sync_service(db).sync_file(db.get(Document, key))
        assert said == (False, f"Document {key}: another worker is sending it")
        gate.touch()
        assert worker.wait(60) == 0 and backend.synced() == [key, other]

        # A lease of a worker that is gone holds for as long as one that may be alive.
        gate.unlink()
        (late,) = backend.add("c.pdf")
        worker = start()
    finally:
        worker.kill()
        worker.wait()
    gate.touch()
    sql("UPDATE nas_sync_leases SET beat_at = clock_timestamp() - interval '20 seconds'")
    assert sync(backend)["total"] == 0
    sql("UPDATE nas_sync_leases SET beat_at = clock_timestamp() - interval '41 seconds'")
    assert sync(backend)["synced"] == 1 and late in backend.synced()


def shape(url):
    """The program's own tables, their columns and indexes."""
    engine = create_engine(url)
    found = inspect(engine)
    tables = [name for name in sorted(found.get_table_names()) if name.startswith("nas_sync_")]
    columns = {name: [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name)] for name in tables}
    indexes = {name: sorted(tuple(one["column_names"]) for one in found.get_indexes(name)) for name in tables}
    with engine.connect() as connection:
        # The program also writes down where its documents go.
        rows = text("SELECT key, value FROM nas_sync_meta WHERE key NOT IN ('last_fence', 'place')")
        meta = sorted(connection.execute(rows).tuples()) if tables else []
    engine.dispose()
    return columns, indexes, meta


def test_the_tables_are_those_that_the_program_makes(nas, backend, program):
    backend.add("a.pdf")
    sync(backend)
    made_here = shape(backend.url)
    with backend.engine.begin() as connection:
        for table in made_here[0]:
            cascade = " CASCADE" if backend.engine.dialect.name == "postgresql" else ""
            connection.execute(text(f"DROP TABLE {table}{cascade}"))
    backend.add("b.pdf")
    assert program("sync")[1]["synced"] == 1
    assert len(made_here[0]) > 5 and shape(backend.url) == made_here


def test_a_failure_of_the_program_is_over_when_it_is_sent_here(nas, backend, program):
    (key,) = backend.add("a.pdf")
    (backend.uploads / "a.pdf").unlink()
    assert program("sync", NAS_RETRIES="0")[0] == 1
    backend.file("a.pdf")
    assert sync(backend)["synced"] == 1
    assert program("verify")[0] == 0
    with backend.engine.connect() as connection:
        row = connection.execute(text("SELECT attempts, last_error_kind, failed_for_good FROM nas_sync_documents")).one()
    assert tuple(row) == (0, None, False)
    assert program("status", "--document", str(key))[1]["documents"][0]["state"] == "synced"


def test_in_the_callers_transaction_it_is_recorded_with_it_and_no_tables_are_made(nas, backend, program):
    first, second = backend.add("a.pdf", "b.pdf")

    def sync_in_mine(key, commit):
        with backend.session() as db:
            db.begin()
            assert get_nas_sync_service(db).sync_file(db.get(Document, key))[0]
            db.commit() if commit else db.rollback()

    sync_in_mine(first, commit=True)
    assert shape(backend.url)[0] == {}
    assert program("verify")[1]["unknown"][0]["id"] == first
    program("sync", "--document", str(first))
    sync_in_mine(second, commit=False)
    assert backend.synced() == [first] and program("verify")[1]["total"] == 1
    sync_in_mine(second, commit=True)
    report = program("verify", "--document", str(second))[1]
    assert (report["total"], report["equal"]) == (1, 1)


def test_a_role_that_may_not_record_sends_and_says_so(nas, on_postgres, caplog):
    first, second = on_postgres.add("a.pdf", "b.pdf")
    with on_postgres.engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS backend"))
        connection.execute(text("CREATE ROLE backend LOGIN"))
        for statement in (
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE ON SCHEMA public TO backend",
            "GRANT SELECT, UPDATE ON documents, users TO backend",
        ):
            connection.execute(text(statement))
    engine = create_engine(on_postgres.engine.url.set(username="backend"))

    def sync_one(key):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "nas_sync"), Session(engine) as db:
            assert get_nas_sync_service(db).sync_file(db.get(Document, key))[0]
        return "".join(record.getMessage() for record in caplog.records if "recorded" in record.getMessage())

    assert 'GRANT CREATE ON SCHEMA "public" TO "backend"' in sync_one(first)
    with on_postgres.session() as db:
        get_nas_sync_service(db).sync_all_pending(7)
    assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON "public".nas_sync_meta' in sync_one(second)
    assert on_postgres.synced() == [first, second]
    engine.dispose()
    with on_postgres.engine.begin() as connection:
        connection.execute(text("DROP OWNED BY backend"))
        connection.execute(text("DROP ROLE backend"))
