"""Keeps recordings: tables, queries and files."""

from .database import open_database
from .errors import DatabaseError

__all__ = ["DatabaseError", "open_database"]
