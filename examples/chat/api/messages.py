"""Rooms and their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, status
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from chat.api.schemas import AuthorSeen, NewMessage, WrittenMessage
from chat.core.dependencies import AsyncDbRead, Author, DbRead, DbWrite, Room
from chat.database.models import Message

router = APIRouter(prefix="/rooms/{room}")


@router.post("/messages", status_code=status.HTTP_201_CREATED)
def write_message(room: Room, message: NewMessage, session: DbWrite) -> NewMessage:
    """Writes a message to the primary; it is committed when the answer comes.

    Whoever got no answer cannot know whether it is there, and sends it again: by its number it is written once.
    """
    values = insert(Message).values(room=room, **message.model_dump())
    session.execute(values.on_conflict_do_nothing(index_elements=["room", "author", "number"]))
    return message


@router.get("/messages", response_model=list[WrittenMessage])
def read_messages(room: Room, session: DbRead, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Sequence[Message]:
    """Reads the latest messages from a replica, newest first."""
    latest = select(Message).where(Message.room == room).order_by(Message.id.desc()).limit(limit)
    return session.scalars(latest).all()


@router.get("/authors/{author}")
async def read_author(room: Room, author: Author, session: AsyncDbRead) -> AuthorSeen:
    """Reads how far an author is: for the author, never less than what was acknowledged."""
    newest = select(func.max(Message.number)).where(Message.room == room, Message.author == author)
    return AuthorSeen(last_number=await session.scalar(newest) or 0)
