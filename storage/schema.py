"""The tables: XAgent's, column for column, so that an existing XAgent database serves as it is; ours beside them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    cast,
    false,
    func,
    literal,
    text,
    true,
)
from sqlalchemy.dialects.mysql import LONGTEXT, TINYINT
from sqlalchemy.ext.compiler import compiles

metadata = MetaData()

# Identifiers and tokens are the same only where every letter is, and nothing is lost of a text, whatever the database's
# own settings are.
_MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
_MYSQL |= {name.replace("mysql", "mariadb"): value for name, value in _MYSQL.items()}


# XAgent's JSON columns. Where we make them they are text, so that what was stored comes out as it was: declared JSON,
# SQLite makes a float of a large number, MySQL changes the order of keys, MariaDB refuses what is nested 32 deep, and
# Postgres what is nested some thousand deep.
JSONText = Text().with_variant(LONGTEXT, "mysql", "mariadb")
Flag = Boolean(create_constraint=False).with_variant(TINYINT(1), "mysql", "mariadb")


def _flag(name: str, *, nullable: bool = True) -> Column[bool]:
    return Column(name, Flag, nullable=nullable, server_default=false())


def _id() -> Column[int]:
    # On SQLite with AUTOINCREMENT, as everywhere else: an id is never used a second time.
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _string(name: str, length: int = 255, *, nullable: bool = True, default: str | None = None) -> Column[str]:
    return Column(name, String(length), nullable=nullable, server_default=default)


interactions = Table(
    "interactions",
    metadata,
    _id(),
    _string("interaction_id", nullable=False),
    _string("user_id", nullable=False),
    _string("create_time"),
    _string("update_time"),
    Column("description", Text),
    _string("agent"),
    _string("mode"),
    Column("recorder_root_dir", Text),
    Column("file_list", JSONText),
    _string("status"),
    Column("message", Text),
    _string("current_step"),
    _flag("is_deleted"),
    _string("call_method", nullable=False, default="web"),
    Index("ix_interactions_interaction_id", "interaction_id", unique=True),
    Index("ix_interactions_user_id", "user_id", "status"),
    sqlite_autoincrement=True,
    **_MYSQL,
)

raw = Table(
    "raw",
    metadata,
    _id(),
    _string("node_id", nullable=False),
    _string("interaction_id", nullable=False),
    _string("current", 128),
    Column("step", Integer, server_default=text("0")),
    Column("data", JSONText),
    Column("file_list", JSONText),
    _string("status", 20, default="running"),
    _flag("do_interrupt"),
    Column("wait_seconds", Integer, server_default=text("0")),
    _flag("ask_for_human_help"),
    _string("create_time"),
    _string("update_time"),
    _flag("is_deleted"),
    _flag("is_human"),
    Column("human_data", JSONText),
    Column("human_file_list", JSONText),
    _flag("is_send", nullable=False),
    _flag("is_receive", nullable=False),
    _flag("include_pictures", nullable=False),
    Index("node_id", "node_id", unique=True),
    sqlite_autoincrement=True,
    **_MYSQL,
)


class _NullFirst(ColumnElement[Any]):
    # As SQLite and MySQL order by themselves; Postgres must be told, and has no use for an index that orders otherwise.
    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        self.column = column
        self.name = column.name
        self.type = column.type


@compiles(_NullFirst)
def _plain(element: _NullFirst, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(_NullFirst, "postgresql")
def _null_first(element: _NullFirst, compiler: Any, **options: Any) -> str:
    return _plain(element, compiler, **options) + " NULLS FIRST"


IN_ORDER = (_NullFirst(raw.c.step), raw.c.id)
"""The order of a recording's rows."""

Index("ix_raw_interaction_id", raw.c.interaction_id, *IN_ORDER)

interaction_parameters = Table(
    "interaction_parameters",
    metadata,
    _id(),
    _string("interaction_id", nullable=False),
    _string("parameter_id", nullable=False),
    Column("args", JSONText),
    sqlite_autoincrement=True,
    **_MYSQL,
)

running_record = Table(
    "running_record",
    metadata,
    _id(),
    _string("record_id", nullable=False),
    _string("current"),
    _string("node_id"),
    _string("node_type"),
    Column("data", JSONText),
    _string("create_time"),
    _string("update_time"),
    _flag("is_deleted", nullable=False),
    sqlite_autoincrement=True,
    **_MYSQL,
)

shared_interactions = Table(
    "shared_interactions",
    metadata,
    _id(),
    _string("interaction_id", nullable=False),
    _string("user_name", nullable=False),
    _string("create_time", nullable=False),
    _string("update_time", nullable=False),
    Column("description", Text, nullable=False),
    _string("agent", nullable=False),
    _string("mode", nullable=False),
    _flag("is_deleted", nullable=False),
    Column("star", Integer, nullable=False, server_default=text("0")),
    Column("record_dir", Text),
    _flag("is_audit", nullable=False),
    Index("ix_shared_interactions_interaction_id", "interaction_id"),
    sqlite_autoincrement=True,
    **_MYSQL,
)

users = Table(
    "users",
    metadata,
    _id(),
    _string("user_id", 32, nullable=False),
    _string("email", nullable=False),
    _string("name"),
    _string("token"),
    Column("available", Flag, server_default=true()),
    Column("corporation", Text),
    Column("industry", Text),
    _string("position"),
    _string("create_time"),
    _string("update_time"),
    Column("deleted", Flag),
    _flag("is_beta"),
    Index("user_id", "user_id", unique=True),
    Index("email", "email", unique=True),
    sqlite_autoincrement=True,
    **_MYSQL,
)

share_links = Table(
    "share_links",
    metadata,
    _id(),
    _string("token_hash", 64, nullable=False),
    _string("interaction_id", nullable=False),
    _string("user_id", nullable=False),
    _string("label", nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("max_views", Integer),
    Column("views", Integer, nullable=False),
    Column("revoked_at", Double),
    Index("ix_share_links_token_hash", "token_hash", unique=True),
    Index("ix_share_links_interaction_id", "interaction_id"),
    Index("ix_share_links_user_id", "user_id"),
    sqlite_autoincrement=True,
    **_MYSQL,
)

share_link_views = Table(
    "share_link_views",
    metadata,
    _id(),
    Column("link_id", Integer, nullable=False),
    _string("viewer", 64, nullable=False),
    Column("viewed_at", Double, nullable=False),
    Index("ix_share_link_views_viewer", "link_id", "viewer", unique=True),
    sqlite_autoincrement=True,
    **_MYSQL,
)

share_migrations = Table(
    "share_migrations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Double, nullable=False),
    **_MYSQL,
)


def is_of(table: Table, interaction_id: str) -> ColumnElement[bool]:
    """The rows of a table that belong to an interaction."""
    condition: ColumnElement[bool] = table.c.interaction_id == interaction_id
    return condition


class _OfText(ColumnElement[Any]):
    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        self.column = column


class size_bytes(_OfText):
    """The size in bytes of the text of a JSON column."""

    type = Integer()


class utf_8(_OfText):
    """The text of a JSON column, on SQLite as the bytes that were stored: nobody has to decode them first."""

    type = Text()


@compiles(size_bytes)
def _octets(element: size_bytes, compiler: Any, **options: Any) -> str:
    return f"octet_length({_text(element, compiler, **options)})"


@compiles(size_bytes, "sqlite")
def _length_of_blob(element: size_bytes, compiler: Any, **options: Any) -> str:
    return f"length({_blob(element, compiler, **options)})"


@compiles(utf_8)
def _text(element: _OfText, compiler: Any, **options: Any) -> str:
    return str(compiler.process(cast(element.column, Text), **options))


@compiles(utf_8, "sqlite")
def _blob(element: _OfText, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.column, **options)} AS BLOB)"


def wide(number: int) -> ColumnElement[int]:
    """A number that may be larger than the column with which it is compared; the drivers don't take it as it is."""
    return cast(literal(number, BigInteger), BigInteger)


def not_deleted(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """That a flag isn't set: XAgent leaves NULL where it never was."""
    return func.coalesce(column, False).is_(False)
