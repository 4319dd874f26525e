"""A NAS and real databases for each test. `tests/integration/python.rs` starts the servers and names them in the environment."""

import os
import time

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session

from models import Base, Document, User


@pytest.fixture
def nas(tmp_path, monkeypatch):
    """The folder on the NAS."""
    folder = tmp_path / "nas"
    folder.mkdir()
    monkeypatch.setenv("NAS_PATH", str(folder))
    # To have the disk flushed after each batch takes its time.
    monkeypatch.setenv("NAS_DURABILITY", "stored")
    # No `.env` of anybody's.
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def durable(nas, monkeypatch):
    """The same, with what is proved by default."""
    monkeypatch.delenv("NAS_DURABILITY")
    return nas


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def postgres():
    """The URL of a database on a real server, all of which is these tests' own."""
    return os.environ["NAS_SYNC_TEST_POSTGRES"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/app.db"
    return empty_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres_url(postgres):
    return empty_postgres(postgres)


def empty_postgres(url):
    engine = create_engine(url)
    with engine.begin() as connection:
        # A session that a test has left open fails the next one at once.
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


class Backend:
    """A database with the tables, and files."""

    def __init__(self, url, uploads):
        self.url, self.uploads = url, uploads
        self.engine = create_engine(url)
        Base.metadata.create_all(self.engine)
        with Session(self.engine) as db:
            db.add_all([User(id=1, name="one"), User(id=7, name="seven")])
            db.commit()

    def file(self, name, content=b"content"):
        path = self.uploads / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def add(self, *names, user_id=1, **columns):
        """Registers files as an upload does; gives their ids."""
        with self.session() as db:
            documents = [
                Document(user_id=user_id, file_path=self.file(name, name.encode()), original_name=name, **columns)
                for name in names
            ]
            db.add_all(documents)
            db.commit()
            return [document.id for document in documents]

    def session(self):
        return Session(self.engine)

    def synced(self):
        """The ids that another connection sees marked, with a time beside the mark."""
        with self.session() as db:
            rows = db.execute(select(Document.id, Document.synced_to_nas, Document.synced_at).order_by(Document.id)).all()
        assert all((at is not None) == bool(mark) for _, mark, at in rows), rows
        return [key for key, mark, _ in rows if mark]


@pytest.fixture
def backend(url, uploads):
    backend = Backend(url, uploads)
    yield backend
    backend.engine.dispose()


@pytest.fixture
def on_postgres(postgres_url, uploads):
    backend = Backend(postgres_url, uploads)
    yield backend
    backend.engine.dispose()


def until(what, so, seconds=60):
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, f"{what}: not so after {seconds} s"
        time.sleep(0.01)


def logins():
    """The local ports of this machine's connections to the NAS."""
    port = int(os.environ["NAS_PORT"])
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in list(table)[1:]]
    return {row[1] for row in rows if row[3] == "01" and int(row[2].split(":")[1], 16) == port}
