"""The service on a session, in SQLite and PostgreSQL."""

import asyncio
import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from datetime import date, datetime, timezone

import pytest

from conftest import Backend
from models import Base, Document, User, utcnow
from nas_sync import NASSyncError, get_nas_sync_service
from sqlalchemy import Boolean, Column, DateTime, Integer, String, Uuid, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session, sessionmaker

LONG = 2 << 30


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(LONG)


# Transactions.


def added(db, path):
    document = Document(user_id=1, file_path=path)
    db.add(document)
    return document


def flushed(db, path):
    document = added(db, path)
    db.flush()
    return document


def by_core(db, path):
    document = db.scalars(select(Document)).unique().first()
    db.execute(update(User.__table__).where(User.__table__.c.id == 1).values(name="changed"))
    return document


def dirty(db, path):
    document = db.scalars(select(Document)).unique().first()
    document.original_name = "changed"
    return document


def in_savepoint(db, path):
    document = db.scalars(select(Document)).unique().first()
    db.begin_nested()
    return document


def begun(db, path):
    db.begin()
    return db.scalars(select(Document)).unique().first()


@pytest.mark.parametrize("work", [added, flushed, by_core, dirty, in_savepoint, begun])
@pytest.mark.parametrize("all_pending", [False, True])
def test_what_the_caller_has_not_committed_is_neither_committed_nor_waited_for(nas, backend, work, all_pending):
    (there,) = backend.add("there.pdf")
    path = backend.file("new.pdf")

    def run(db):
        document, service = work(db, path), get_nas_sync_service(db)
        if all_pending:
            assert service.sync_all_pending(1)["errors"] == []
        else:
            assert service.sync_file(document)[0]
        assert document.synced_to_nas is True and document.synced_at <= utcnow()
        return document.id

    with backend.session() as db:
        run(db)
        assert backend.synced() == [], "nobody else sees a mark before the caller commits"
        db.rollback()
    assert backend.synced() == []
    with backend.session() as other:
        assert other.scalars(select(Document.id)).all() == [there], "nor the caller's own changes"
        assert other.get(User, 1).name == "one" and other.get(Document, there).original_name == "there.pdf"
    with backend.session() as db:
        done = run(db)
        db.commit()
        if db.in_transaction():
            db.commit()
    assert done in backend.synced()


@pytest.mark.parametrize("all_pending", [False, True])
def test_what_was_not_sent_from_here_stays(nas, backend, all_pending):
    (key,) = backend.add("a.pdf")
    (nas / "a.pdf").write_bytes(b"of another database")

    def sync(**arguments):
        with backend.session() as db:
            db.execute(update(Document).values(synced_to_nas=False, synced_at=None))
            db.commit()
            service = get_nas_sync_service(db)
            if all_pending:
                return service.sync_all_pending(1, **arguments)["errors"]
            is_synced, said = service.sync_file(db.get(Document, key), **arguments)
            return [] if is_synced else [said]

    for _ in range(2):
        (error,) = sync()
        assert "another file has its name on the NAS" in error
        assert (nas / "a.pdf").read_bytes() == b"of another database" and backend.synced() == []
    assert sync(overwrite=True) == []
    assert (nas / "a.pdf").read_bytes() == b"a.pdf"
    # What was sent from here is replaced by what it is now.
    backend.file("a.pdf", b"changed")
    assert sync() == []
    assert (nas / "a.pdf").read_bytes() == b"changed"


def test_the_caller_may_go_on_in_a_block_of_its_own(nas, backend):
    backend.add("a")
    with backend.session() as db:
        with db.begin():
            get_nas_sync_service(db).sync_all_pending(1)
            db.add(User(id=99))
            assert backend.synced() == []
        assert len(backend.synced()) == 1
    with backend.session() as other:
        assert other.get(User, 99)


def test_objects_of_a_session_that_keeps_them_are_marked(nas, backend):
    backend.add("a", "b")
    with Session(backend.engine, expire_on_commit=False) as db:
        documents = db.scalars(select(Document)).unique().all()
        get_nas_sync_service(db).sync_all_pending(1)
        assert [document.synced_to_nas for document in documents] == [True, True]
    assert len(backend.synced()) == 2


def test_a_document_that_is_marked_is_left_alone(nas, backend):
    (key,) = backend.add("a")
    with backend.session() as db, backend.session() as other:
        stale = db.get(Document, key)
        get_nas_sync_service(other).sync_all_pending(1)
        (nas / "a").unlink()
        assert get_nas_sync_service(db).sync_file(stale) == (True, f"Document {key} is on the NAS already")
        assert stale.synced_to_nas is True and not (nas / "a").exists()


def test_a_scoped_session(nas, backend):
    backend.add("a")
    db = scoped_session(sessionmaker(backend.engine))
    assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 1
    db.remove()
    assert len(backend.synced()) == 1


# Runs.


def test_several_batches_are_one_run(nas, backend):
    keys = backend.add(*(f"{number}.pdf" for number in range(60)))
    (backend.uploads / "7.pdf").unlink()
    events = []
    with backend.session() as db:
        results = get_nas_sync_service(db).sync_all_pending(1, on_progress=events.append)
    assert (results["total"], results["synced"], results["failed"]) == (60, 59, 1)
    assert backend.synced() == [key for key in keys if key != keys[7]]
    assert [event["event"] for event in events if event["event"] in ("started", "finished")] == ["started", "finished"]
    total = sum(len(f"{number}.pdf") for number in range(60) if number != 7)
    assert events[0] == {"event": "started", "documents": 60, "bytes": total}
    told = {event["id"]: event["outcome"] for event in events if event["event"] == "document"}
    assert told == {key: "failed" if key == keys[7] else "synced" for key in keys}
    assert events[-2]["done"] == 60 and events[-1]["synced"] == 59 and events[-1]["failed"] == 1


def test_large_documents_are_marked_one_by_one(nas, backend):
    keys = backend.add("a", "b", "c")
    for name in "ab":
        with open(backend.uploads / name, "wb") as file:
            file.truncate(40 << 20)
    seen = []

    def on_progress(event):
        if event["event"] == "document":
            seen.append(backend.synced())

    with backend.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1, on_progress)["synced"] == 3
    assert seen == [[], keys[:1], keys[:1]] and backend.synced() == keys


def test_what_a_callback_or_a_signal_ends_is_recorded(nas, backend):
    keys = backend.add(*(f"{number:02}.pdf" for number in range(16)))
    (large,) = backend.add("large.pdf")
    sparse(backend.uploads / "large.pdf")

    def on_progress(event):
        if event["event"] == "progress" and event["current"] == "large.pdf":
            raise KeyboardInterrupt

    with backend.session() as db:
        with pytest.raises(KeyboardInterrupt):
            get_nas_sync_service(db).sync_all_pending(1, on_progress)
        assert db.get(Document, large).synced_to_nas is False
    assert backend.synced() == keys and not (nas / "large.pdf").exists()


def test_what_was_stored_is_marked_though_its_transfer_is_ended(nas, backend, monkeypatch):
    monkeypatch.setattr("nas_sync._service.MOST_BYTES", 1 << 40)
    (small, _) = backend.add("a small one", "large")
    sparse(backend.uploads / "large")

    class Enough(Exception):
        pass

    def on_progress(event):
        if event["event"] == "document":
            raise Enough

    with backend.session() as db:
        with pytest.raises(Enough):
            get_nas_sync_service(db).sync_all_pending(1, on_progress)
    assert backend.synced() == [small] and not (nas / "large").exists()


def test_a_row_that_changes_while_it_is_sent_is_not_marked(nas, tmp_path, uploads):
    backend = Backend(f"sqlite:///{tmp_path}/app.db", uploads)
    moved, gone, kept = backend.add("a", "b", "c")

    def on_progress(event):
        # SQLite holds no rows, so a request beside the run may do this.
        with backend.session() as other:
            other.execute(update(Document).where(Document.id == moved).values(file_path=backend.file("another")))
            other.execute(text(f"DELETE FROM documents WHERE id = {gone}"))
            other.commit()

    with backend.session() as db:
        service = get_nas_sync_service(db)
        results = service.sync_all_pending(1, on_progress)
        assert (results["synced"], results["failed"]) == (1, 2) and "its row was changed" in results["errors"][0]
        assert backend.synced() == [kept] and db.get(Document, moved).synced_to_nas is False
        assert service.sync_all_pending(1)["synced"] == 1 and backend.synced() == [moved, kept]
    backend.engine.dispose()


def test_a_session_that_a_callback_closes_marks_nothing_and_says_so(nas, backend):
    backend.add("a", "b")
    with backend.session() as db:
        results = get_nas_sync_service(db).sync_all_pending(1, lambda event: db.close())
    assert (results["synced"], results["failed"]) == (0, 2) and "the session was closed" in results["errors"][0]
    assert backend.synced() == []
    with backend.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 2


def test_a_nas_that_cannot_be_used(nas, backend):
    keys = backend.add(*(f"{number}.pdf" for number in range(20)))
    events = []
    with backend.session() as db:
        service = get_nas_sync_service(db, port=1)
        assert service.test_connection()[0] is False
        results = service.sync_all_pending(1, events.append)
        done, message = service.sync_file(db.get(Document, keys[0]))
    assert (results["total"], results["synced"], results["failed"]) == (20, 0, 20)
    assert results["errors"][0].startswith(f"Document {keys[0]}: ") and results["errors"][-1].startswith("4 more documents")
    assert done is False and message.startswith(f"Document {keys[0]}: ")
    assert events[-1].items() >= {"event": "finished", "synced": 0, "failed": 20}.items()
    assert backend.synced() == []


def test_without_configuration(nas, backend, monkeypatch):
    monkeypatch.delenv("NAS_HOST")
    (key,) = backend.add("a")
    with backend.session() as db:
        service = get_nas_sync_service(db)
        assert service.is_configured() is False and service.get_config_status()["missing"] == ["NAS_HOST"]
        assert service.test_connection()[1].startswith("not configured, missing: NAS_HOST")
        assert service.sync_file(db.get(Document, key))[1].startswith("not configured, missing: NAS_HOST")
        with pytest.raises(NASSyncError) as raised:
            service.sync_all_pending(1)
        assert raised.value.kind == "not_configured" and service.get_sync_stats(1)["nas_configured"] is False
    assert backend.synced() == []


# Names.


def test_a_name_of_another_document_is_not_taken(nas, backend):
    old = backend.add("old/scan%.pdf")
    with backend.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 1
    new = backend.add("new/scan%.pdf", "new/scan_.pdf", "newer/other.pdf", "newest/other.pdf")
    with backend.session() as db:
        results = get_nas_sync_service(db).sync_all_pending(1)
        done, message = get_nas_sync_service(db).sync_file(db.get(Document, new[0]))
    assert done is False and message.endswith(f"belongs to document {old[0]}")
    assert (results["synced"], results["failed"]) == (2, 2), results
    assert backend.synced() == [old[0], new[1], new[2]]
    assert (nas / "scan%.pdf").read_bytes() == b"old/scan%.pdf" and (nas / "other.pdf").read_bytes() == b"newer/other.pdf"
    # With a layout that keeps them apart all of them go.
    with backend.session() as db:
        assert get_nas_sync_service(db, layout="{id}_{name}").sync_all_pending(1)["failed"] == 0
    assert len(backend.synced()) == 5


def test_names_by_the_layout(nas, backend):
    dated = backend.add("a/one.pdf", date=date(1999, 2, 3))
    backend.add("b/two.pdf", created_at=datetime(2001, 4, 5), user_id=7)
    settings = {"layout": "{user_id}/{year}-{month}/{name}", "upload_dir": backend.uploads}
    with backend.session() as db:
        # Relative to UPLOAD_DIR, and absolute.
        db.get(Document, dated[0]).file_path = "a/one.pdf"
        db.get(Document, dated[0]).original_name = "C:\\scans\\Reçu.pdf"
        db.commit()
        service = get_nas_sync_service(db, **settings)
        assert service.sync_all_pending(1)["errors"] == [] and service.sync_all_pending(7)["errors"] == []
    assert (nas / "1/1999-02/Reçu.pdf").read_bytes() == b"a/one.pdf"
    assert (nas / "7/2001-04/b_two.pdf").exists() or (nas / "7/2001-04/two.pdf").exists()
    (outside,) = backend.add("c")
    with backend.session() as db:
        db.get(Document, outside).file_path = "../c"
        db.commit()
        results = get_nas_sync_service(db, layout="tree", upload_dir=backend.uploads).sync_all_pending(1)
        assert "outside" in results["errors"][0]
        with pytest.raises(NASSyncError, match="UPLOAD_DIR"):
            get_nas_sync_service(db, layout="tree").sync_all_pending(1)


# Other tables.


class Other(DeclarativeBase):
    pass


class Paper(Other):
    __tablename__ = "papers"

    id = Column(Uuid, primary_key=True, default=uuid.uuid4)
    user_id = Column(Uuid, nullable=False)
    file_path = Column(String, nullable=False)
    doc_type = Column(String)
    synced_to_nas = Column(Boolean)
    synced_at = Column(DateTime(timezone=True))


class Odd(Other):
    __tablename__ = "odd"

    id = Column(Integer, primary_key=True)
    file_path = Column(String)


class Bill(Other):
    __tablename__ = "Mes factures"

    id = Column(Integer, primary_key=True)
    user_id = Column(Integer, nullable=False)
    file_path = Column(String, nullable=False)
    synced_to_nas = Column(Boolean, default=False)
    synced_at = Column(DateTime)


def test_the_table_may_be_named_in_a_file_of_settings(nas, backend, tmp_path, monkeypatch):
    Other.metadata.create_all(backend.engine)
    with backend.session() as db:
        db.add_all([Bill(user_id=7, file_path=backend.file("a")), Paper(user_id=uuid.uuid4(), file_path=backend.file("b"))])
        db.commit()
        (tmp_path / ".env").write_text("NAS_TABLE='\"Mes factures\"'\n")
        assert get_nas_sync_service(db).sync_all_pending(7)["synced"] == 1
        assert db.scalars(select(Bill)).one().synced_to_nas
        # The environment beats the file, and an argument both. SQL takes what is not quoted without regard to case.
        monkeypatch.setenv("NAS_TABLE", "PAPERS")
        user = db.scalars(select(Paper)).one().user_id
        assert get_nas_sync_service(db).get_sync_stats(user)["pending"] == 1
        assert get_nas_sync_service(db, table="Mes factures").get_sync_stats(7)["synced"] == 1
        monkeypatch.setenv("NAS_TABLE", "Mes factures")
        with pytest.raises(NASSyncError, match="NAS_TABLE") as raised:
            get_nas_sync_service(db)
        assert raised.value.kind == "usage"


def test_a_table_with_uuids_and_time_zones(nas, backend, monkeypatch):
    Other.metadata.create_all(backend.engine)
    user = uuid.uuid4()
    with backend.session() as db:
        db.add_all([Paper(user_id=user, file_path=backend.file(name), doc_type="invoice") for name in "abc"])
        db.commit()
        began = datetime.now(timezone.utc)
        monkeypatch.setenv("NAS_TABLE", "papers")
        service = get_nas_sync_service(db, layout="{type}/{id}")
        assert service.sync_all_pending(user)["synced"] == 3
        paper = db.scalars(select(Paper)).first()
        assert (nas / f"invoice/{paper.id}").exists()
        at = paper.synced_at if paper.synced_at.tzinfo else paper.synced_at.replace(tzinfo=timezone.utc)
        assert began <= at <= datetime.now(timezone.utc)
        stats = service.get_sync_stats(user)
        assert stats["last_sync"] == at.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds")


def test_tables_that_do_not_do(nas, backend):
    Other.metadata.create_all(backend.engine)
    with backend.session() as db:
        with pytest.raises(NASSyncError, match="Odd has no user_id, synced_to_nas, synced_at") as raised:
            get_nas_sync_service(db, model=Odd).sync_all_pending(1)
        assert raised.value.kind == "database_unusable"
        with pytest.raises(NASSyncError, match="no mapped class for the table nothing"):
            get_nas_sync_service(db, table="nothing").sync_all_pending(1)
        with pytest.raises(TypeError, match="not a mapped class"):
            get_nas_sync_service(db, model=dict).sync_all_pending(1)
        Base.metadata.drop_all(backend.engine)
        with pytest.raises(NASSyncError) as raised:
            get_nas_sync_service(db).sync_all_pending(1)
        assert raised.value.kind == "database_unusable" and "documents" in raised.value.message


def test_arguments_that_make_no_sense(nas, backend):
    (key,) = backend.add("a")
    with backend.session() as db, backend.session() as other:
        service = get_nas_sync_service(db)
        for nonsense in (None, 42, "a", object(), Document):
            with pytest.raises(TypeError, match="an object of a mapped class"):
                service.sync_file(nonsense)
        for stranger in (other.get(Document, key), Document(user_id=1, file_path="a")):
            with pytest.raises(NASSyncError, match="does not belong to this session"):
                service.sync_file(stranger)
        for nonsense in (None, True, 1.5, [1]):
            with pytest.raises(TypeError, match="a key is"):
                service.sync_all_pending(nonsense)
            with pytest.raises(TypeError, match="a key is"):
                service.get_sync_stats(nonsense)
        for nonsense in ("x", "7.5", " 1", "1_0", ""):
            with pytest.raises(TypeError, match="whole numbers"):
                service.get_sync_stats(nonsense)
        assert service.get_sync_stats("1")["total_documents"] == 1, "an id out of a token"
        assert service.sync_all_pending(12345) == {"total": 0, "synced": 0, "failed": 0, "errors": []}
        deleted = db.get(Document, key)
        other.rollback()
        other.delete(other.get(Document, key))
        other.commit()
        with pytest.raises(NASSyncError) as raised:
            service.sync_file(deleted)
        assert raised.value.kind == "document_not_found"
    for nonsense in (None, "postgresql://", backend.engine):
        with pytest.raises(TypeError, match="must be a SQLAlchemy Session"):
            get_nas_sync_service(nonsense)
    with pytest.raises(TypeError, match="did you mean 'port'"):
        get_nas_sync_service(backend.session(), prot=22)
    with pytest.raises(NASSyncError, match="port is"):
        get_nas_sync_service(backend.session(), port="x")
    assert not list(nas.iterdir())


# PostgreSQL alone.


def test_a_row_that_another_worker_holds_is_left_to_it(nas, on_postgres):
    one, two = on_postgres.add("one", "two")
    with on_postgres.session() as other, on_postgres.session() as db:
        other.execute(select(Document.id).where(Document.id == one).with_for_update())
        service = get_nas_sync_service(db)
        assert service.sync_file(db.get(Document, one)) == (False, f"Document {one}: another worker is sending it")
        results = service.sync_all_pending(1)
        assert (results["total"], results["synced"]) == (1, 1)
    assert on_postgres.synced() == [two]


def test_a_row_can_be_referred_to_while_it_is_sent(nas, on_postgres):
    (key,) = on_postgres.add("one")
    with on_postgres.engine.begin() as connection:
        connection.execute(text("CREATE TABLE pages (document integer REFERENCES documents)"))
    inserted = []

    def on_progress(event):
        if not inserted:
            with on_postgres.engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '5s'"))
                connection.execute(text(f"INSERT INTO pages VALUES ({key})"))
            inserted.append(event)

    with on_postgres.session() as db:
        assert get_nas_sync_service(db).sync_all_pending(1, on_progress)["synced"] == 1
    assert inserted


def test_a_database_that_goes_away_in_the_middle_marks_nothing_wrongly(nas, on_postgres):
    keys = on_postgres.add("one", "two")

    def cut(event):
        with on_postgres.engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
            )

    with on_postgres.session() as db:
        with pytest.raises(NASSyncError, match="2 documents are on the NAS and could not be marked") as raised:
            get_nas_sync_service(db).sync_all_pending(1, cut)
        assert raised.value.kind == "database_unusable"
        assert on_postgres.synced() == []
        assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 2
    assert on_postgres.synced() == keys


# Asynchronous sessions.


@contextmanager
def turning():
    """Counts the turns of the event loop."""
    turns = [0]

    async def turn():
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    task = asyncio.get_running_loop().create_task(turn())
    yield turns
    task.cancel()


def test_an_asynchronous_session(nas, backend):
    backend.add(*(f"{number}" for number in range(20)))
    (own,) = backend.add("own", user_id=7)
    url = backend.url.replace("sqlite:", "sqlite+aiosqlite:")

    async def run():
        engine, events = create_async_engine(url), []
        async with AsyncSession(engine) as db:
            with pytest.raises(TypeError, match="run_sync"):
                get_nas_sync_service(db)

            def sync(session):
                service = get_nas_sync_service(session)
                assert service.test_connection()[0]
                return service.sync_all_pending(1, events.append)

            with turning() as turns:
                results = await db.run_sync(sync)
                assert turns[0] > 100, "the loop goes on"
            document = await db.get(Document, own)
            assert (await db.run_sync(lambda session: get_nas_sync_service(session).sync_file(document)))[0]
            await db.refresh(document)
            assert document.synced_to_nas is True
            # What is not committed stays so.
            new = Document(user_id=1, file_path=backend.file("new"))
            db.add(new)
            await db.flush()
            assert (await db.run_sync(lambda session: get_nas_sync_service(session).sync_file(new)))[0]
            await db.rollback()
        await engine.dispose()
        return results, events

    results, events = asyncio.run(run())
    assert results == {"total": 20, "synced": 20, "failed": 0, "errors": []}
    assert events[0]["event"] == "started" and events[-1]["event"] == "finished"
    assert len(backend.synced()) == 21


def test_a_plain_session_in_an_event_loop_needs_no_greenlet(nas, backend):
    keys = backend.add("a")
    script = f"""
import asyncio, sys
sys.modules["greenlet"] = None
sys.path.insert(0, {os.path.dirname(__file__)!r})
from models import Document
from nas_sync import get_nas_sync_service
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

async def run():
    with Session(create_engine({backend.url!r})) as db:
        assert get_nas_sync_service(db).sync_all_pending(1)["synced"] == 1

asyncio.run(run())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, text=True)
    assert done.returncode == 0, done.stderr
    assert backend.synced() == keys


def test_an_asynchronous_run_that_is_cancelled_marks_what_was_stored(nas, backend):
    keys = backend.add(*(f"{number:02}" for number in range(16)))
    backend.add("large")
    sparse(backend.uploads / "large")
    url = backend.url.replace("sqlite:", "sqlite+aiosqlite:")

    async def run():
        engine, busy = create_async_engine(url), asyncio.Event()

        def on_progress(event):
            if event["event"] == "progress" and event["current"] == "large":
                busy.set()

        async with AsyncSession(engine) as db:
            sync = db.run_sync(lambda session: get_nas_sync_service(session).sync_all_pending(1, on_progress))
            task = asyncio.create_task(sync)
            await busy.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await engine.dispose()

    asyncio.run(run())
    assert backend.synced() == keys and not (nas / "large").exists()




# Back again.


def test_documents_come_back_to_their_places(nas, backend):
    synced, newer, twin, pending = backend.add("a.pdf", "newer.pdf", "twin.pdf", "pending.pdf")
    os.utime(backend.uploads / "newer.pdf", (1e9, 1e9))
    with backend.session() as db:
        service = get_nas_sync_service(db)
        for key in (synced, newer, twin):
            assert service.sync_file(db.get(Document, key)) == (True, f"Document {key} is on the NAS (stored)")
        for name in ("a.pdf", "twin.pdf"):
            (backend.uploads / name).unlink()
        backend.file("newer.pdf", b"newer than there")
        # A row that was marked before, whose name would be that of a document.
        db.add(Document(user_id=1, file_path="/elsewhere/twin.pdf", synced_to_nas=True, synced_at=utcnow()))
        db.commit()
        documents = db.scalars(select(Document).order_by(Document.id)).unique().all()
        report = service.restore(documents)
        errors = dict(error.removeprefix("Document ").split(": ", 1) for error in report.pop("errors"))
        assert report == {"total": 5, "restored": 2, "failed": 3}
        assert "stays" in errors[str(newer)] and f"belongs to document {twin}" in errors[str(pending + 1)]
        assert errors[str(pending)] == "it is not on the NAS yet"
        assert (backend.uploads / "a.pdf").read_bytes() == b"a.pdf"
        assert (backend.uploads / "newer.pdf").read_bytes() == b"newer than there"
        assert (backend.uploads / "twin.pdf").read_bytes() == b"twin.pdf"
        assert service.restore([documents[1]], overwrite=True)["restored"] == 1
        assert (backend.uploads / "newer.pdf").read_bytes() == b"newer.pdf"
        assert service.restore([]) == {"total": 0, "restored": 0, "failed": 0, "errors": []}
        with pytest.raises(TypeError, match="mapped class"):
            service.restore([7])
    assert backend.synced() == [synced, newer, twin, pending + 1], "nothing changes in the database"


def test_documents_come_back_in_an_asynchronous_session(nas, on_postgres):
    (key,) = on_postgres.add("a.pdf")

    async def run():
        engine = create_async_engine(on_postgres.url)
        async with AsyncSession(engine) as db:

            def work(session):
                service = get_nas_sync_service(session)
                assert service.sync_all_pending(1)["synced"] == 1
                (on_postgres.uploads / "a.pdf").unlink()
                return service.restore([session.get(Document, key)])

            report = await db.run_sync(work)
        await engine.dispose()
        return report

    assert asyncio.run(run())["restored"] == 1
    assert (on_postgres.uploads / "a.pdf").read_bytes() == b"a.pdf"
