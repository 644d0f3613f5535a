"""As little as an import can do: one file of JSON into one table, nothing checked.

python plain_import.py FILE DATABASE
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import orjson

COLUMNS = ("node_id", "interaction_id", "current", "step", "status", "create_time", "data")

if __name__ == "__main__":
    rows = orjson.loads(Path(sys.argv[1]).read_bytes())["raws"]
    with sqlite3.connect(sys.argv[2]) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE raw (id INTEGER PRIMARY KEY AUTOINCREMENT, {', '.join(COLUMNS)})")
        connection.execute("CREATE UNIQUE INDEX node ON raw (node_id)")
        connection.execute("CREATE INDEX interaction ON raw (interaction_id, step, id)")
        values = ((*(row[name] for name in COLUMNS[:-1]), orjson.dumps(row["data"]).decode()) for row in rows)
        connection.executemany(f"INSERT INTO raw ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
