"""What the routes are given: a session to write with, and one to read with. The session says where it goes, and a
route is done with it when it returns: a write is committed before the response leaves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from replctl.router.fastapi import AsyncDbRead, AsyncDbWrite, DbRead, DbWrite

__all__ = ["AsyncDbRead", "AsyncDbWrite", "Author", "DbRead", "DbWrite", "Room"]

Room = Annotated[str, Path(min_length=1, max_length=40)]
Author = Annotated[str, Path(min_length=1, max_length=40)]
