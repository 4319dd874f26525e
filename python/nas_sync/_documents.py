"""The rows of documents, on the session's own connection."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from ._client import plain_key
from ._errors import NASSyncError
from ._session import begin_writing

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from . import _native

NEEDED = ("id", "user_id", "file_path", "synced_to_nas", "synced_at")
OPTIONAL = ("original_name", "file_type", "doc_type", "date", "created_at")
# Databases that can pass over rows which somebody else holds.
SKIPPING = ("postgresql", "mysql", "mariadb")


@dataclass(frozen=True)
class Facts:
    """What the database says about a document, as far as its name depends on it."""

    id: int | str
    user_id: int | str
    path: bytes
    original_name: str | None
    doc_type: str | None
    file_type: str | None
    date: tuple[int, int, int] | None
    created: tuple[int, int, int] | None
    odd_date: tuple[str, str] | None


class Documents:
    """The mapped class of the table, and what is asked of it."""

    def __init__(self, session: Session, model: Any) -> None:
        from sqlalchemy import inspect
        from sqlalchemy.exc import NoInspectionAvailable

        try:
            self.mapper = inspect(model)
            attributes = self.mapper.column_attrs
        except (NoInspectionAvailable, AttributeError):
            raise TypeError(f"{model!r} is not a mapped class") from None
        missing = [name for name in NEEDED if name not in attributes]
        if missing:
            raise NASSyncError(
                f"{self.mapper.class_.__name__} has no {', '.join(missing)}",
                kind="database_unusable",
                solution=f"Map a table with {', '.join(NEEDED)}.",
            )
        self.session = session
        self.model = self.mapper.class_
        self.optional = [name for name in OPTIONAL if name in attributes]

    @property
    def dialect(self) -> str:
        """The kind of database."""
        return str(self.session.get_bind(mapper=self.mapper).dialect.name)

    def user(self, user_id: Any) -> Any:
        """A user as the column has it: a text such as from a token may be the number of one, and PostgreSQL compares no text with
        numbers. Raises ``TypeError`` for what no user of the table can be."""
        from sqlalchemy import Integer, String, Uuid

        key, kind = plain_key(user_id), self.model.user_id.type
        try:
            if isinstance(kind, Integer):
                return _number(key)
            if isinstance(kind, Uuid):
                user = uuid.UUID(str(key))
                return user if kind.as_uuid else str(user)
        except ValueError:
            what = "UUIDs" if isinstance(kind, Uuid) else "whole numbers"
            raise TypeError(f"the users of this table are {what}, and {key!r} is none") from None
        return str(key) if isinstance(kind, String) else user_id

    # Conditions.

    def synced(self) -> Any:
        """Whether a row is marked. One that is not clearly true counts as pending."""
        from sqlalchemy import Boolean, and_, true

        column = self.model.synced_to_nas
        return and_(column.is_not(None), column == true() if isinstance(column.type, Boolean) else column != 0)

    def pending(self) -> Any:
        from sqlalchemy import Boolean, false, or_

        column = self.model.synced_to_nas
        return or_(column.is_(None), column == false() if isinstance(column.type, Boolean) else column == 0)

    # Rows.

    def stats(self, user_id: Any) -> tuple[int, int, datetime | None]:
        """All, the synced ones, and when the last one was."""
        from sqlalchemy import case, func, select

        synced, at = self.synced(), self.model.synced_at
        wanted = select(func.count(), func.count(case((synced, 1))), func.max(case((synced, at))))
        total, done, last = self.session.execute(wanted.where(self.model.user_id == user_id)).one()
        return total, done, last

    def last_pending(self, user_id: Any) -> Any:
        """The highest id that is pending."""
        from sqlalchemy import select

        ids = select(self.model.id).where(self.model.user_id == user_id, self.pending())
        return self.session.execute(ids.order_by(self.model.id.desc()).limit(1)).scalar()

    def paths(self, user_id: Any, up_to: Any) -> Sequence[str]:
        """The files of all that is pending."""
        from sqlalchemy import select

        model = self.model
        paths = select(model.file_path).where(model.user_id == user_id, self.pending(), model.id <= up_to)
        return self.session.execute(paths).scalars().all()

    def count_pending(self, user_id: Any, after: Any, up_to: Any) -> int:
        from sqlalchemy import func, select

        model = self.model
        count = select(func.count()).where(model.user_id == user_id, self.pending(), model.id > after, model.id <= up_to)
        return self.session.execute(count).scalar_one()

    def lease(self, user_id: Any, after: Any, up_to: Any, limit: int, leased: Any) -> list[Any]:
        """Pending documents of a user that nobody else is sending, held until the transaction ends; ascending by id. ``leased`` are
        those that a worker of the program is sending, who holds no rows."""
        from sqlalchemy import select

        model = self.model
        while True:
            ids = select(model.id).where(model.user_id == user_id, self.pending(), model.id <= up_to, self._free(leased))
            if after is not None:
                ids = ids.where(model.id > after)
            # Ids alone: a row that is joined to others could not be held.
            found = self.session.execute(self._held(ids.order_by(model.id).limit(limit))).scalars().all()
            if not found:
                return []
            # A worker may have been quicker than this took hold of them; now it cannot be.
            whole = select(model).where(model.id.in_(found), self._free(leased)).order_by(model.id)
            fresh = self.session.execute(whole.execution_options(populate_existing=True))
            if batch := list(fresh.unique().scalars().all()):
                return batch
            after = found[-1]

    def lease_one(self, document: Any, leased: Any) -> bool | None:
        """Holds a document's row; gives whether it is marked. ``None``: somebody else is sending it. Raises where there is none."""
        from sqlalchemy import select

        row = select(self.model.id, self.synced()).where(self.model.id == document.id)
        found = self.session.execute(self._held(row.where(self._free(leased)))).first()
        if found is not None and self.session.execute(row.where(self._free(leased))).first() is not None:
            return bool(found[1])
        if self.session.execute(row).first() is not None:
            return None
        raise NASSyncError(f"the database has no document {document.id}", kind="document_not_found")

    def _free(self, leased: Any) -> Any:
        from sqlalchemy import true

        return true() if leased is None else self.model.id.not_in(leased)

    def _held(self, rows: Any) -> Any:
        if self.dialect not in SKIPPING:
            return rows
        # Others may go on referring to the rows (`FOR NO KEY UPDATE` in PostgreSQL).
        return rows.with_for_update(skip_locked=True, key_share=True, of=self.model)

    def mark(self, documents: Mapping[int | str, Any], sent: Mapping[int | str, tuple[Any, bytes]]) -> set[int | str]:
        """Marks documents as synced now, and gives those that are marked: one whose row is gone by now, or has another path than
        was ``sent`` for its id, is none of them. SQLite holds no rows while they are sent, and a callback may end a transaction."""
        from sqlalchemy import select

        if not documents:
            return set()
        begin_writing(self.session, self.mapper)
        model, ids = self.model, [sent[key][0] for key in documents]
        rows = self._held(select(model.id, model.file_path).where(model.id.in_(ids)).order_by(model.id))
        found = {plain_key(key): path for key, path in self.session.execute(rows)}
        now = datetime.now(timezone.utc)
        if not getattr(self.model.synced_at.type, "timezone", False):
            now = now.replace(tzinfo=None)
        marked = set()
        for key, document in documents.items():
            path = found.get(key)
            if path is not None and os.fsencode(path) == sent[key][1] and document in self.session:
                document.synced_to_nas, document.synced_at = True, now
                marked.add(key)
        self.session.flush()
        return marked

    # Names.

    def facts(self, document: Any) -> Facts:
        """What is known of a document or of a row with the same names. Raises where that makes no sense."""
        path = document.file_path
        if not isinstance(path, (str, os.PathLike)):
            raise NASSyncError("it has no file_path", kind="source_missing", solution="Fill file_path in the database.")
        known = {name: getattr(document, name) for name in self.optional}
        day, odd = _day("date", known.get("date"))
        created, odd_created = _day("created_at", known.get("created_at"))
        return Facts(
            id=plain_key(document.id),
            user_id=plain_key(document.user_id),
            path=os.fsencode(path),
            original_name=_word(known.get("original_name")),
            doc_type=_word(known.get("doc_type")),
            file_type=_word(known.get("file_type")),
            date=day,
            created=created,
            odd_date=odd or (None if day else odd_created),
        )

    def clashes(
        self, wanted: dict[bytes, Any], layout: str, naming: _native.Naming
    ) -> dict[bytes, Any]:
        """Which of these names belong to another document, and to which: one that is synced, or a pending one with a lower id.

        ``wanted`` is the document of each name. A layout with ``{id}`` keeps them apart by itself. For any other this looks at
        each row of the table, once.
        """
        from sqlalchemy import and_, or_, select

        if not wanted or "{id}" in layout:
            return {}
        bases = {os.fsdecode(os.path.basename(os.fsencode(one.file_path))) for one in wanted.values()}
        condition = self._ends_with(self.model.file_path, bases)
        if "{name}" in layout and "original_name" in self.optional:
            names = {_word(one.original_name) or "" for one in wanted.values()}
            bases |= {name.replace("\\", "/").rsplit("/", 1)[-1] for name in names if name}
            condition = or_(
                self._ends_with(self.model.file_path, bases), self._ends_with(self.model.original_name, bases, "\\")
            )
        columns = [getattr(self.model, name) for name in (*NEEDED, *self.optional)]
        rows = select(*columns).where(condition, or_(self.synced(), self.model.id < max(one.id for one in wanted.values())))
        taken: dict[bytes, Any] = {}
        for row in self.session.execute(rows):
            try:
                name = naming.name(self.facts(row))
            except (NASSyncError, TypeError):
                continue
            mine = wanted.get(name) if isinstance(name, bytes) else None
            if mine is not None and isinstance(name, bytes) and row.id != mine.id and (row.synced_to_nas or row.id < mine.id):
                taken[name] = row.id
        return taken

    def _ends_with(self, column: Any, bases: set[str], other_separator: str | None = None) -> Any:
        """Whether the last part of a path is one of these."""
        from sqlalchemy import func, or_

        path = func.replace(column, other_separator, "/") if other_separator else column
        if self.dialect in ("postgresql", "sqlite"):
            folder = func.rtrim(path, func.replace(path, "/", ""))
            return func.substr(path, func.length(folder) + 1).in_(bases)
        if self.dialect in ("mysql", "mariadb"):
            return func.substring_index(path, "/", -1).in_(bases)
        return or_(*(condition for base in bases for condition in (path == base, path.endswith("/" + base, autoescape=True))))


def find_model(session: Session, schema: str | None, name: str) -> Any:
    """The mapped class of a table. Raises where there is none, or more than one."""
    from sqlalchemy import Table

    loaded = {type(one) for one in session}
    mapped = [
        (mapper, mapper.local_table.schema, mapper.local_table.name)
        for registry in _registries()
        for mapper in registry.mappers
        if mapper.inherits is None and isinstance(mapper.local_table, Table)
    ]
    found = [mapper for mapper, of, named in mapped if named == name and schema in (None, of)]
    if not found:
        # SQL takes what is not quoted without regard to case, and a class need not say what the database's own schema is.
        found = [mapper for mapper, of, named in mapped if named.lower() == name.lower() and (schema is None or of is None)]
    if len(found) > 1:
        found = [mapper for mapper in found if mapper.class_ in loaded] or found
    if len(found) == 1:
        return found[0].class_
    what = "more than one mapped class" if found else "no mapped class"
    raise NASSyncError(
        f"there is {what} for the table {name if schema is None else f'{schema}.{name}'}",
        kind="database_unusable",
        solution="Name the class: get_nas_sync_service(db, model=Document), or its table: NAS_TABLE.",
    )


def _registries() -> list[Any]:
    """All there are. Nothing public lists them; where this is gone, the class has to be named."""
    from sqlalchemy.orm import Mapper

    return list(getattr(sys.modules[Mapper.__module__], "_mapper_registries", ()))


def _number(key: int | str) -> int:
    """A whole number, or the text of one as it is usually written: of others somebody meant something else."""
    number = int(key)
    if str(number) != str(key):
        raise ValueError(key)
    return number


def _day(column: str, value: object) -> tuple[tuple[int, int, int] | None, tuple[str, str] | None]:
    """The day of a date, and what is not understood as one."""
    if isinstance(value, str) and value.strip():
        text = value.strip()
        try:
            value = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        except ValueError:
            return None, (column, text)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(timezone.utc)
    if isinstance(value, date):
        return (value.year, value.month, value.day), None
    if value is None or value == "":
        return None, None
    return None, (column, str(value))


def _word(value: object) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    return None if value is None else str(value)
