"""What the program ``nas-sync`` remembers of documents, in tables of its own: so that it can verify and restore what was sent here,
and neither takes a name on the NAS from a document of the other."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _native
from ._client import plain_key
from ._session import begin_writing

if TYPE_CHECKING:
    from ._documents import Documents

logger = logging.getLogger("nas_sync")
_warned: set[str] = set()

META = "SELECT key, CAST(value AS TEXT) FROM {nas_sync_meta} WHERE key IN ('schema_version', 'documents')"
OWNERS = """SELECT n.{by}, n.document_id FROM {nas_sync_names} n
    WHERE n.{by} IN :names AND EXISTS (SELECT 1 FROM {documents} d WHERE d.id = n.document_id)"""
COPIES = """SELECT s.document_id, s.remote_name, s.sha256
    FROM {nas_sync_documents} s JOIN {documents} d ON d.id = s.document_id AND s.file_path = d.file_path
    WHERE s.remote_name IS NOT NULL AND s.document_id IN :keys"""
SENT = """SELECT s.document_id, s.remote_name FROM {nas_sync_documents} s JOIN {documents} d ON d.id = s.document_id
    WHERE s.remote_name IS NOT NULL AND coalesce(s.row_identity = {identity}, TRUE) AND s.document_id IN :keys"""
# On the server's clock, which is everybody's.
LEASED = """SELECT k.document_id FROM {nas_sync_leased} k JOIN {nas_sync_leases} l ON l.fence = k.fence
    WHERE l.beat_at > {now} - {term} * interval '1 second'"""
RECORD = """INSERT INTO {nas_sync_documents} (document_id, file_path, row_identity, last_attempt_at, remote_name, bytes,
        mtime_seconds, mtime_nanoseconds, level, sha256)
    SELECT d.id, d.file_path, {identity}, {now}, :name, :bytes, :seconds, :nanoseconds, :level, :sha256
    FROM {documents} d WHERE d.id = :id
    ON CONFLICT (document_id) DO UPDATE SET
        file_path = excluded.file_path, row_identity = excluded.row_identity,
        attempts = 0, last_error_kind = NULL, last_error_text = NULL, last_error_solution = NULL,
        next_attempt_at = NULL, failed_for_good = FALSE, verified_at = NULL, last_attempt_at = excluded.last_attempt_at,
        remote_name = excluded.remote_name, bytes = excluded.bytes, mtime_seconds = excluded.mtime_seconds,
        mtime_nanoseconds = excluded.mtime_nanoseconds, level = excluded.level, sha256 = excluded.sha256"""
TAKE = """INSERT INTO {nas_sync_names} ({columns}) VALUES ({values})
    ON CONFLICT ({by}) DO UPDATE SET document_id = excluded.document_id"""
GIVE_UP_OTHERS = "DELETE FROM {nas_sync_names} WHERE document_id = :id AND {by} <> :by"


@dataclass(frozen=True)
class Copy:
    """A document as it is on the NAS."""

    key: int | str
    name: bytes
    bytes: int | None
    mtime: tuple[int, int]
    level: str | None
    sha256: str | None


def open_records(documents: Documents, create: bool) -> Records | None:
    """What is remembered of the documents of a table; ``None`` where the program could not work on it, or where its tables are of
    no use. With ``create`` they are made and committed where they are missing, and what is in the way is said."""
    from sqlalchemy import Table
    from sqlalchemy.exc import SQLAlchemyError

    kinds: dict[str, type[Records]] = {"sqlite": _Sqlite, "postgresql": _Postgres}
    if documents.dialect not in kinds or not isinstance(documents.mapper.local_table, Table):
        return None
    records = kinds[documents.dialect](documents)
    if not records.look():
        return None
    if create and not records.are_there and records.fault is None:
        documents.session.commit()
        try:
            records.make()
            documents.session.commit()
        except SQLAlchemyError as error:
            documents.session.rollback()
            # Unless another process made them meanwhile.
            if records.look() and not records.are_there:
                records.fault = str(getattr(error, "orig", None) or error)
        else:
            records.look()
    if records.fault is not None and create and records.fault not in _warned:
        _warned.add(records.fault)
        logger.warning(
            "what is sent is not recorded for the program nas-sync, which can neither verify nor restore it: %s", records.fault
        )
    return records if records.are_there and records.fault is None else None


class Records:
    """The tables ``nas_sync_…`` of a table of documents. What differs between databases is below."""

    # What stands for `{…}` in the statements, and the types of their parameters where they have to be said.
    words: dict[str, str]
    types: dict[str, str] = {}

    def __init__(self, documents: Documents) -> None:
        self._session = documents.session
        self._mapper = documents.mapper
        self._table: Any = documents.mapper.local_table
        self._version, self._statements = _native.own_tables(documents.dialect) or (0, [])
        self.are_there = False
        self.fault: str | None = None
        # Whether it can be seen which documents a worker of the program is sending.
        self.shows_leases = False

    def find(self) -> bool:
        """Whether the program could work on the table."""
        raise NotImplementedError

    def examine(self) -> tuple[bool, str | None]:
        """Whether the program's tables are there, and why they cannot be written to, or made."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begins to make them."""
        raise NotImplementedError

    def find_by(self, name: bytes) -> bytes:
        """By what a name is found."""
        raise NotImplementedError

    def look(self) -> bool:
        """Looks at the tables; gives whether the program could work on that of the documents."""
        if not self.find():
            return False
        self.are_there, self.fault = self.examine()
        if self.are_there and self.fault is None:
            meta = dict(self._run(META).all())
            about = meta.get("documents", '"documents"')
            if meta.get("schema_version") != str(self._version):
                self.fault = f"its tables are of version {meta.get('schema_version')}, this package knows {self._version}"
            elif about.lower() != self.words["about"].lower():
                self.fault = f"its tables are about {about}, not {self.words['about']}"
        return True

    def make(self) -> None:
        """Makes the tables, unless somebody was first."""
        self.begin()
        if self.examine()[0]:
            return
        for statement in self._statements:
            self._run(statement)
        rows = {"schema_version": str(self._version), "documents": self.words["about"]}
        insert = "INSERT INTO {nas_sync_meta} (key, value) VALUES (:key, :value)"
        self._run(insert, [{"key": key, "value": value} for key, value in rows.items()])

    def owners(self, names: Iterable[bytes]) -> dict[bytes, Any]:
        """The ids of the documents that names belong to."""
        wanted = {self.find_by(name): name for name in names}
        rows = self._run(OWNERS, {"names": list(wanted)}, "names") if wanted else ()
        return {wanted[bytes(found)]: owner for found, owner in rows}

    def copies(self, keys: Sequence[int | str]) -> dict[int | str, tuple[bytes, str | None]]:
        """Names on the NAS and SHA-256 of documents, where they were recorded."""
        rows = self._run(COPIES, {"keys": list(keys)}, "keys") if keys else ()
        return {plain_key(key): (bytes(name), None if sha256 is None else bytes(sha256).hex()) for key, name, sha256 in rows}

    def unsent(self, names: Mapping[int | str, bytes]) -> set[int | str]:
        """Those of these documents of which no copy under their name was recorded: what has it on the NAS is not theirs."""
        rows = self._run(SENT, {"keys": list(names)}, "keys") if names else ()
        sent = {plain_key(key): bytes(name) for key, name in rows}
        return {key for key, name in names.items() if sent.get(key) != name}

    def leased(self) -> Any:
        """The ids of the documents that a worker of the program is sending, for a condition; ``None`` where that cannot be seen."""
        from sqlalchemy import column, text

        return text(self._expanded(LEASED)).columns(column("document_id")) if self.shows_leases else None

    def write(self, copies: Iterable[Copy]) -> None:
        """Records copies in place of all that was remembered of their documents."""
        values: list[dict[str, Any]] = [
            {
                "id": copy.key,
                "name": copy.name,
                "by": self.find_by(copy.name),
                "folded": self.find_by(_native.folded(copy.name)),
                "bytes": copy.bytes,
                "seconds": copy.mtime[0],
                "nanoseconds": copy.mtime[1],
                "level": copy.level,
                "sha256": None if copy.sha256 is None else bytes.fromhex(copy.sha256),
            }
            for copy in copies
        ]
        # Two that take the same names do so in one order.
        values.sort(key=lambda value: value["by"])
        for statement in (RECORD, TAKE, GIVE_UP_OTHERS) if values else ():
            self._run(statement, values)

    def _run(self, sql: str, values: Any = None, *lists: str) -> Any:
        from sqlalchemy import bindparam, text

        sql = self._expanded(sql)
        sql = re.sub(r"(?<![:\w]):(\w+)", lambda found: self._parameter(found[1]), sql)
        statement = text(sql).bindparams(*(bindparam(name, expanding=True) for name in lists))
        return self._session.connection(bind_arguments={"mapper": self._mapper}).execute(statement, values)

    def _expanded(self, sql: str) -> str:
        own = self.words["schema"]
        return re.sub(r"\{(\w+)\}", lambda found: self.words.get(found[1]) or f"{own}.{found[1]}", sql)

    def _parameter(self, name: str) -> str:
        kind = self.types.get(name)
        return f":{name}" if kind is None else f"CAST(:{name} AS {self.words.get(kind, kind)})"


class _Sqlite(Records):
    def find(self) -> bool:
        from sqlalchemy import Integer

        name = _quoted(self._table.name)
        self.words = {
            "schema": "main",
            "documents": f"main.{name}",
            "about": name,
            "by": "name",
            "columns": "name, document_id, folded",
            "values": ":name, :id, :folded",
            "now": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        }
        rows = self._run("SELECT lower(name) FROM pragma_table_xinfo(:table, 'main')", {"table": self._table.name})
        columns = set(rows.scalars())
        known = [column for column in ("user_id", "created_at", "original_name") if column in columns]
        self.words["identity"] = " || ' ' || ".join(f"quote(d.{column})" for column in known)
        return (
            self._table.schema in (None, "main")
            and {"id", "user_id", "file_path", "synced_to_nas", "synced_at"} <= columns
            and isinstance(self._mapper.column_attrs.id.columns[0].type, Integer)
        )

    def examine(self) -> tuple[bool, str | None]:
        return self._run("SELECT 1 FROM main.sqlite_master WHERE name = 'nas_sync_meta'").first() is not None, None

    def begin(self) -> None:
        begin_writing(self._session, self._mapper)

    def find_by(self, name: bytes) -> bytes:
        return name


class _Postgres(Records):
    types = {"id": "T", "name": "bytea", "by": "bytea", "folded": "bytea", "sha256": "bytea", "level": "text"} | dict.fromkeys(
        ("bytes", "seconds", "nanoseconds"), "bigint"
    )

    def find(self) -> bool:
        self.words = {"schema": ""}
        shown = self._session.get_bind(mapper=self._mapper).dialect.identifier_preparer.format_table(self._table)
        rows = self._run(
            """SELECT CAST(n.nspname AS text), CAST(c.relname AS text), CAST(a.attname AS text),
                   CAST(coalesce(b.typname, t.typname) AS text)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
               WHERE c.oid = to_regclass(CAST(:shown AS text)) AND c.relkind IN ('r', 'p')""",
            {"shown": shown},
        ).all()
        if not rows:
            return False
        columns = {column: kind for _, _, column, kind in rows}
        ids = {"int2": "bigint", "int4": "bigint", "int8": "bigint", "uuid": "uuid", "text": "text", "varchar": "text"}
        self._own, table = rows[0][0], rows[0][1]
        identity = ", ".join(_shown(column, columns.get(column)) for column in ("created_at", "original_name"))
        self.words = {
            "schema": _quoted(self._own),
            "documents": f"{_quoted(self._own)}.{_quoted(table)}",
            "about": f"{_quoted(self._own)}.{_quoted(table)}",
            "T": ids.get(columns.get("id", ""), ""),
            "by": "hash",
            "columns": "hash, name, document_id, folded",
            "values": ":by, :name, :id, :folded",
            "now": "clock_timestamp()",
            "term": str(_native.lease_seconds()),
            "identity": f"concat_ws(' ', CAST(d.user_id AS text), {identity})",
        }
        return bool(self.words["T"]) and {"user_id", "file_path", "synced_to_nas", "synced_at"} <= set(columns)

    def examine(self) -> tuple[bool, str | None]:
        rows = self._run(
            """SELECT CAST(current_user AS text), bool_and(has_table_privilege(c.oid, 'SELECT') AND (c.relname = 'nas_sync_meta'
                   OR has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
                      AND (c.relname <> 'nas_sync_names' OR has_table_privilege(c.oid, 'DELETE')))),
                   has_schema_privilege(CAST(:own AS text), 'CREATE'),
                   (SELECT count(*) FILTER (WHERE has_table_privilege(c.oid, 'SELECT')) = 2 FROM pg_class c
                    WHERE c.relnamespace = to_regnamespace(CAST(:schema AS text)) AND c.relname IN ('nas_sync_leases', 'nas_sync_leased'))
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = CAST(:own AS text) AND c.relname IN ('nas_sync_meta', 'nas_sync_documents', 'nas_sync_names')""",
            {"own": self._own, "schema": self.words["schema"]},
        )
        role, may_write, may_make, self.shows_leases = rows.one()
        role, own = _quoted(role), self.words["schema"]
        if may_write is None:
            grant = f"GRANT CREATE ON SCHEMA {own} TO {role}, until they are made"
            return False, None if may_make else f"the role {role} may not make its tables; let the owner run: {grant}"
        tables = ", ".join(f"{own}.nas_sync_{name}" for name in ("meta", "documents", "names"))
        grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}"
        return True, None if may_write else f"the role {role} may not write to its tables; let their owner run: {grant}"

    def begin(self) -> None:
        # As the program does, one at a time.
        self._run("SELECT pg_advisory_xact_lock(1851880307, hashtext('create'))")

    def find_by(self, name: bytes) -> bytes:
        # An index holds no long names.
        return hashlib.sha256(name).digest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _shown(column: str, kind: str | None) -> str:
    """A column as the program has it in the identity of a row in PostgreSQL."""
    if kind is None:
        return "CAST(NULL AS text)"
    times = {"timestamptz": f"d.{column} AT TIME ZONE 'UTC'", "timestamp": f"d.{column}"}
    if kind in times:
        return f"to_char({times[kind]}, 'YYYY-MM-DD HH24:MI:SS.US')"
    return f"to_char(d.{column}, 'YYYY-MM-DD')" if kind == "date" else f"CAST(d.{column} AS text)"
