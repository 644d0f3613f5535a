"""What goes wrong with a database, in our words: every driver has errors of its own."""

from __future__ import annotations

import sqlite3
import sys


class DatabaseError(Exception):
    """The database can't do what was asked; the message says why and what would help.

    `advice` is for strangers: it tells nothing of the database.
    """

    advice = "the database doesn't answer, please try again later"


class DatabaseUnavailable(DatabaseError):
    """It doesn't answer for now: what was asked may well succeed later."""


class TableMissing(DatabaseError):
    """There is no such table, or this database user may not do that with it."""

    advice = "this server's database isn't set up for that: replay-share db init makes the tables"


class DatabaseConflict(DatabaseError):
    """What was to be stored is there already, or what it belongs to isn't."""


class BadValue(DatabaseError, ValueError):
    """A value is none that the database can hold."""

    advice = "there is a value in it that the database can't hold"


class DatabaseBusy(DatabaseError):
    """Two transactions were in each other's way, and this one was taken back: it can be done again."""


MAX_WORDS = 300

# The file is locked, or can't be opened or read for now.
_SQLITE_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
# Classes of SQLSTATE: connections; an operator's stop, and the start that follows; too many connections; what took too
# long; a standby, which only reads.
_POSTGRES_AWAY = ("08", "57P", "53300", "57014", "25P03", "25006")
_POSTGRES_MISSING = ("42P01", "42501")
_POSTGRES_BUSY = ("40001", "40P01", "55P03")
# Of the server: too many connections (1040, 1203), not ready (1047), stopping (1053, 1317, 1927, 3169), network (1158
# to 1161), only reads (1290, 1836), took too long (1969). Of the client: not reached, or lost.
# https://mariadb.com/kb/en/mariadb-error-code-reference/
_MYSQL_AWAY = {1040, 1047, 1053, 1158, 1159, 1160, 1161, 1203, 1290, 1317, 1836, 1927, 1969, 3169, 4031}
_MYSQL_AWAY |= {2002, 2003, 2006, 2013, 2014, 2055}
_MYSQL_TOO_LARGE = 1153  # than max_allowed_packet
_MYSQL_MISSING = {1142, 1143, 1146}
# Waited too long for another's lock, deadlock, read what another has changed since.
_MYSQL_BUSY = {1205, 1213, 1020}


def translate(error: Exception) -> DatabaseError | None:
    """A driver's error in our words; None for what is none of a driver's."""
    if isinstance(error, sqlite3.Error):
        return _kind(error, _sqlite_kind(error))
    if isinstance(error, UnicodeEncodeError):  # some drivers let it out: a lone surrogate
        return _kind(error, BadValue)
    if isinstance(error, ConnectionError | TimeoutError):
        return _kind(error, DatabaseUnavailable)
    for name in ("asyncpg", "asyncmy.errors", "pymysql.err"):
        module = sys.modules.get(name)  # a driver that isn't loaded has raised nothing
        if module is None:
            continue
        if name == "asyncpg":
            if isinstance(error, module.PostgresError | module.InterfaceError | module.InternalClientError):
                return _kind(error, _postgres_kind(error))
        elif isinstance(error, module.MySQLError):
            return _kind(error, _mysql_kind(error))
    return None


def _kind(error: Exception, kind: type[DatabaseError]) -> DatabaseError:
    # Some have the whole statement among their arguments.
    parts = [error] if isinstance(error, UnicodeEncodeError) or not error.args else error.args
    words = " ".join(" ".join(str(part).split()) for part in parts)
    return kind(words[:MAX_WORDS] or type(error).__name__)


def _sqlite_kind(error: sqlite3.Error) -> type[DatabaseError]:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY:
        return DatabaseUnavailable
    if str(error).startswith("no such table"):
        return TableMissing
    return DatabaseConflict if isinstance(error, sqlite3.IntegrityError) else DatabaseError


def _postgres_kind(error: Exception) -> type[DatabaseError]:
    state: str | None = getattr(error, "sqlstate", None)
    # Without a state it is asyncpg's own: mostly a connection that was lost.
    if state is None or state.startswith(_POSTGRES_AWAY):
        return DatabaseUnavailable
    if state in _POSTGRES_BUSY:
        return DatabaseBusy
    if state in _POSTGRES_MISSING:
        return TableMissing
    return {"23": DatabaseConflict, "22": BadValue}.get(state[:2], DatabaseError)


def _mysql_kind(error: Exception) -> type[DatabaseError]:
    code = error.args[0] if error.args else 0
    if code in _MYSQL_AWAY or type(error).__name__ == "InterfaceError":
        return DatabaseUnavailable
    if code in _MYSQL_BUSY:
        return DatabaseBusy
    if code == _MYSQL_TOO_LARGE:
        return BadValue
    if code in _MYSQL_MISSING:
        return TableMissing
    return {"IntegrityError": DatabaseConflict, "DataError": BadValue}.get(type(error).__name__, DatabaseError)
