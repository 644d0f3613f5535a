"""Keeps recordings: tables, queries and files."""

from .database import DatabaseError, open_database

__all__ = ["DatabaseError", "open_database"]
