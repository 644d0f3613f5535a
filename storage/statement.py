"""A query that is asked again and again: compiled once for each kind of database, and answered with plain tuples."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from databases.core import Connection
from sqlalchemy.sql import ClauseElement


async def _fetch_sqlite(raw: Any, text: str, places: Sequence[Any]) -> Sequence[Sequence[Any]]:
    # Calling a function for each text, as is needed for those that are no UTF-8, takes longer than to read it.
    lenient, raw.text_factory = raw.text_factory, str
    try:
        return list(await raw.execute_fetchall(text, places))
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    finally:
        raw.text_factory = lenient
    return list(await raw.execute_fetchall(text, places))


class _Compiled(NamedTuple):
    text: str
    names: Sequence[str]
    """Of the values, in the order of their places; a value may have several."""
    constants: Mapping[str, Any]


class Statement:
    """Its values are bound by the names of their `bindparam`s.

    `databases` compiles a query each time it is asked and maps each record by its columns: ten times the work of SQLite
    itself. What comes here is what the driver gives: on SQLite and MySQL a flag is a number.
    """

    def __init__(self, query: ClauseElement) -> None:
        self._query = query
        self._compiled: dict[str, _Compiled] = {}

    async def fetch_all(self, connection: Connection, **values: Any) -> Sequence[Sequence[Any]]:
        """The records. To be called as work of a `Reader`, which keeps cancels away from the connection."""
        kind = connection._database.url.dialect
        compiled = self._compiled.get(kind)
        if compiled is None:
            compiled = self._compiled[kind] = self._compile(connection, kind)
        raw = connection.raw_connection
        values = {**compiled.constants, **values}
        if kind == "mysql":
            async with raw.cursor() as cursor:
                await cursor.execute(compiled.text, values)
                return list(await cursor.fetchall())
        places = [values[name] for name in compiled.names]
        if kind == "sqlite":
            return await _fetch_sqlite(raw, compiled.text, places)
        return list(await raw.fetch(compiled.text, *places))

    def _compile(self, connection: Connection, kind: str) -> _Compiled:
        dialect = connection._database._backend._dialect
        compiled: Any = self._query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        text, names = str(compiled), list(compiled.params)
        if kind == "sqlite":
            names = list(compiled.positiontup or ())
        elif kind != "mysql":
            text %= {name: f"${number}" for number, name in enumerate(names, start=1)}
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return _Compiled(text, names, constants)
