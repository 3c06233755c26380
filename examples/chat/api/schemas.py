"""The documents that go in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class NewMessage(BaseModel):
    """``number`` is the author's own count in the room."""

    author: Annotated[str, Field(min_length=1, max_length=40)]
    number: Annotated[int, Field(ge=1, lt=2**63)]
    text: Annotated[str, Field(max_length=2000)]


class WrittenMessage(NewMessage):
    """``id`` counts all messages."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    written_at: datetime


class AuthorSeen(BaseModel):
    """The number of an author's last message in a room; 0 without any."""

    last_number: int
