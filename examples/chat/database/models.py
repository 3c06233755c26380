"""The tables."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Of all tables."""


class Message(Base):
    """Authors number their own messages in a room, 1, 2, 3: one that is sent twice is there once."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("room", "author", "number"), Index("messages_of_room", "room", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    room: Mapped[str]
    author: Mapped[str]
    number: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str]
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
