"""A web backend's side of the database, as such backends are written: SQLAlchemy with its defaults.

    backend.py load URL UPLOADS SECONDS    creates the tables, then inserts, updates and reads from several threads
    backend.py check URL EARLIEST LATEST   reads every document back; times are seconds since 1970

Prints one JSON object.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from datetime import date, datetime, timezone
from pathlib import Path

from sqlalchemy import Boolean, Column, Date, DateTime, ForeignKey, Integer, String, create_engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import declarative_base, sessionmaker

Base = declarative_base()


class User(Base):
    __tablename__ = "users"

    id = Column(Integer, primary_key=True, index=True)
    name = Column(String, nullable=False)


class Document(Base):
    __tablename__ = "documents"

    id = Column(Integer, primary_key=True, index=True)
    user_id = Column(Integer, ForeignKey("users.id"), nullable=False)
    file_path = Column(String, nullable=False)
    original_name = Column(String)
    file_type = Column(String)
    doc_type = Column(String)
    date = Column(Date)
    created_at = Column(DateTime, default=datetime.utcnow)
    synced_to_nas = Column(Boolean, default=False)
    synced_at = Column(DateTime, nullable=True)


class Backend:
    """Sessions of its own for each piece of work, and a count of what went wrong."""

    def __init__(self, url):
        self.session = sessionmaker(bind=create_engine(url))
        self.done = Counter()
        self.errors = []
        self.lock = threading.Lock()

    def work(self, name, task):
        try:
            with self.session() as session:
                task(session)
            result = name
        except OperationalError as error:
            result = "locked" if "lock" in str(error) else "errors"
            self.errors.append(str(error))
        except Exception as error:
            result = "errors"
            self.errors.append(repr(error))
        with self.lock:
            self.done[result] += 1


def insert(backend, uploads, thread):
    """Writes a file, then registers it, as an upload does. Half of the paths are absolute."""
    number = backend.done["inserts"]
    name = f"Reçu {thread}-{time.monotonic_ns()}.pdf"
    path = uploads / f"user {thread}" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(random.randbytes(random.randrange(20_000)))
    document = Document(
        user_id=thread,
        file_path=str(path if number % 2 else path.relative_to(uploads)),
        original_name=name,
        file_type="pdf",
    )
    if number % 3 == 0:
        document.date = date(2000 + number % 25, 1 + number % 12, 1 + number % 28)
    elif number % 3 == 1:
        # The last moment of a month, so that a time that is read in another zone lands in another folder.
        document.created_at = datetime(2020, 1 + 2 * (number % 4), 31, 23, 59, 59, 999_999)

    def task(session):
        session.add(document)
        session.commit()

    backend.work("inserts", task)


def update(backend):
    """Changes another column of a document that is there."""

    def task(session):
        last = session.scalar(select(func.max(Document.id)))
        document = last and session.get(Document, random.randint(1, last))
        if document:
            document.doc_type = random.choice(["invoice", "receipt", None])
            session.commit()

    backend.work("updates", task)


def send_again(backend):
    """Takes the mark off a document: its file is to go again."""

    def task(session):
        marked = select(Document.id).where(Document.synced_to_nas.is_(True)).order_by(func.random()).limit(1)
        document = session.get(Document, session.scalar(marked) or 0)
        if document:
            document.synced_to_nas, document.synced_at = False, None
            session.commit()

    backend.work("resends", task)


def status(backend):
    """What a status page asks. Reading fails if a time is not what SQLAlchemy writes."""

    def task(session):
        total = session.query(Document).count()
        synced = session.query(Document).filter(Document.synced_to_nas.is_(True)).count()
        last = session.scalar(select(func.max(Document.synced_at)))
        newest = session.query(Document).order_by(Document.id.desc()).limit(20).all()
        assert synced <= total and (last is None or isinstance(last, datetime)), (synced, total, last)
        for document in newest:
            assert document.synced_to_nas in (True, False), document.synced_to_nas
            assert (document.synced_at is not None) == document.synced_to_nas, document.synced_at

    backend.work("reads", task)


def load(url, uploads, seconds):
    backend = Backend(url)
    Base.metadata.create_all(backend.session.kw["bind"])
    with backend.session() as session:
        session.add_all(User(id=thread, name=f"user {thread}") for thread in range(1, 4))
        session.commit()
    until = time.monotonic() + seconds

    def repeat(task, pause):
        while time.monotonic() < until:
            task()
            time.sleep(random.uniform(0, pause))

    tasks = [(lambda thread=thread: insert(backend, uploads, thread), 0.08) for thread in range(1, 4)]
    tasks += [(lambda: update(backend), 0.02)] * 2
    tasks += [(lambda: status(backend), 0.04)] * 2
    tasks += [(lambda: send_again(backend), 0.5)]
    threads = [threading.Thread(target=repeat, args=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {key: backend.done[key] for key in ("inserts", "updates", "reads", "resends", "locked", "errors")} | {
        "messages": backend.errors[:5]
    }


def check(url, earliest, latest):
    earliest, latest = (datetime.fromtimestamp(time, timezone.utc).replace(tzinfo=None) for time in (earliest, latest))
    backend = Backend(url)
    with backend.session() as session:
        documents = session.query(Document).all()
        wrong = []
        for document in documents:
            is_synced, at = document.synced_to_nas, document.synced_at
            if is_synced is not True or type(at) is not datetime or not earliest <= at <= latest:
                wrong.append(f"{document.id}: {is_synced!r} {at!r}")
        names = {}
        for document in documents:
            day = document.date or document.created_at
            names[f"{day.year:04}/{day.month:02}/{document.id}_{document.original_name}"] = document.file_path
        return {"documents": len(documents), "wrong": wrong[:5], "names": names}


if __name__ == "__main__":
    command, url, *rest = sys.argv[1:]
    if command == "load":
        result = load(url, Path(rest[0]), float(rest[1]))
    else:
        result = check(url, float(rest[0]), float(rest[1]))
    print(json.dumps(result))
