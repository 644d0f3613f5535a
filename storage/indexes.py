"""Indexes that make reading faster, only on tables that we made: those have one of ours already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from databases.core import Connection

_OF_OURS = "ix_{}_interaction_id"
"""What each table has since we made it. XAgent's are without, or have one by another name."""


class _Index(NamedTuple):
    table: str
    columns: str
    where: str = ""


_LISTED = "create_time, id"
_PLAIN: Mapping[str, _Index] = {
    "ix_interactions_listed": _Index("interactions", _LISTED),
    "ix_interactions_owned": _Index("interactions", f"user_id, {_LISTED}"),
}

# An index of some of the rows is used only where the query says which in the same words.
INDEXES: Mapping[str, Mapping[str, _Index]] = {
    # With all that a search looks at: to go from an index to the table takes ten times as long as to look at what is in
    # the index.
    "sqlite": {
        "ix_interactions_listed": _Index("interactions", f"{_LISTED}, is_deleted, interaction_id, description"),
        "ix_interactions_owned": _Index(
            "interactions", f"user_id, {_LISTED}, status, is_deleted, interaction_id, description"
        ),
        # `is_human` again, or ix_raw_outline would be taken for as good, and all rows of a recording be looked at.
        "ix_raw_human_data": _Index("raw", "interaction_id, is_human, step, is_deleted, human_data", "is_human IS 1"),
        # All that is asked of a row but its content: a recording of a million rows is two gigabytes. The index that is
        # the beginning of it stays, for 10 bytes a row: by it a table is known to be ours.
        "ix_raw_outline": _Index("raw", "interaction_id, step, id, is_deleted, status, current, create_time"),
        "ix_shared_interactions_public": _Index("shared_interactions", "interaction_id, is_deleted", "is_audit IS 1"),
    },
    # What is in an index must be short here; a text isn't.
    "postgresql": {
        **_PLAIN,
        "ix_raw_human": _Index("raw", "interaction_id", "is_human IS true"),
        "ix_shared_interactions_public": _Index("shared_interactions", "interaction_id", "is_audit IS true"),
    },
    # It has no index of some of the rows.
    "mysql": _PLAIN,
}

_PRESENT = {
    "sqlite": "SELECT name, tbl_name AS of_table FROM sqlite_master WHERE type = 'index'",
    "mysql": (
        "SELECT DISTINCT index_name AS name, table_name AS of_table FROM information_schema.statistics"
        " WHERE table_schema = database()"
    ),
    # Of tables that are this user's: nobody else may make an index.
    "postgresql": (
        "SELECT i.relname AS name, t.relname AS of_table FROM pg_catalog.pg_index"
        " JOIN pg_catalog.pg_class i ON i.oid = indexrelid JOIN pg_catalog.pg_class t ON t.oid = indrelid"
        " WHERE pg_catalog.pg_table_is_visible(t.oid) AND pg_catalog.pg_has_role(t.relowner, 'USAGE')"
    ),
}


async def make_indexes(connection: Connection) -> None:
    """Make those that are missing. It can be done again, and doesn't touch what XAgent has made."""
    kind = connection._database.url.dialect
    dialect = "postgresql" if kind == "postgres" else kind
    records = await connection.fetch_all(_PRESENT[dialect])
    present = {(record["of_table"], record["name"]) for record in records}
    for name, index in INDEXES[dialect].items():
        is_ours = (index.table, _OF_OURS.format(index.table)) in present
        if is_ours and (index.table, name) not in present:
            where = f" WHERE {index.where}" if index.where else ""
            await connection.execute(f"CREATE INDEX {name} ON {index.table} ({index.columns}){where}")
