"""Several processes on one queue in PostgreSQL, and a server that forks its workers."""

import json
import os
import signal
import subprocess
import sys
import textwrap

from conftest import until
from nas_sync import get_nas_sync_service
from sqlalchemy import text

WORKERS = 8
DOCUMENTS = 200

WORKER = """
    import json, sys
    sys.path.insert(0, sys.argv[2])
    from models import Document
    from nas_sync import get_nas_sync_service
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    busy = []

    def on_progress(event):
        if event["event"] == "progress" and event["bytes"] and not busy:
            busy.append(event)
            print("busy", file=sys.stderr, flush=True)

    with Session(create_engine(sys.argv[1])) as db:
        print(json.dumps(get_nas_sync_service(db).sync_all_pending(1, on_progress)))
"""


def start(backend):
    words = [sys.executable, "-c", textwrap.dedent(WORKER), backend.url, os.path.dirname(__file__)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def count_marks(backend):
    """Has the database count how often each document becomes synced."""
    with backend.engine.begin() as connection:
        connection.execute(text("CREATE TABLE marks (id integer)"))
        connection.execute(
            text(
                "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN INSERT INTO marks VALUES (NEW.id); RETURN NEW; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER mark AFTER UPDATE OF synced_to_nas ON documents FOR EACH ROW EXECUTE FUNCTION mark()")
        )


def marks(backend):
    with backend.engine.connect() as connection:
        return connection.scalars(text("SELECT id FROM marks ORDER BY id")).all()


def test_eight_processes_send_each_document_once(nas, on_postgres):
    keys = on_postgres.add(*(f"{number:03}.pdf" for number in range(DOCUMENTS)))
    count_marks(on_postgres)
    workers = [start(on_postgres) for _ in range(WORKERS)]
    results = []
    for worker in workers:
        out, err = worker.communicate(timeout=240)
        assert worker.returncode == 0, err
        results.append(json.loads(out))
    assert sum(result["synced"] for result in results) == DOCUMENTS and not any(result["failed"] for result in results), results
    assert marks(on_postgres) == keys == on_postgres.synced()
    for number in range(DOCUMENTS):
        assert (nas / f"{number:03}.pdf").read_text() == f"{number:03}.pdf"


def test_what_a_killed_process_held_goes_to_the_others(nas, on_postgres):
    keys = on_postgres.add("large", "small")
    with open(on_postgres.uploads / "large", "wb") as file:
        file.truncate(64 << 20)
    worker = start(on_postgres)
    assert worker.stderr.readline() == "busy\n"
    worker.send_signal(signal.SIGSTOP)
    with on_postgres.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1)["total"] == 0, "they are held"
    worker.kill()
    worker.communicate()

    def synced():
        with on_postgres.session() as db:
            get_nas_sync_service(db).sync_all_pending(1)
        return on_postgres.synced() == keys

    until("the others have sent them", synced)
    assert (nas / "large").stat().st_size == 64 << 20


def test_workers_that_a_server_forks_after_it_has_used_the_nas(nas, on_postgres):
    """As gunicorn does with `preload_app`: the parent logs in, then forks."""
    on_postgres.add("of the parent")
    with on_postgres.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 1
    on_postgres.add(*(f"{number}" for number in range(60)))
    count_marks(on_postgres)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            signal.alarm(120)
            status = 1
            try:
                on_postgres.engine.dispose(close=False)
                with on_postgres.session() as db:
                    status = get_nas_sync_service(db).sync_all_pending(1)["failed"]
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(marks(on_postgres)) == 60 and len(on_postgres.synced()) == 61
