"""What a client is told when a server was lost in the midst of its request."""

from __future__ import annotations

from fastapi import FastAPI, Request, status
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError


def install_lost_connections(app: FastAPI) -> None:
    """Status 503: come again.

    Whether a lost COMMIT took place is not known. This application may say so all the same, since a message that is
    sent twice is written once; one whose rows carry no key of the client's should leave it at 500.
    """
    app.add_exception_handler(DBAPIError, _answer)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DBAPIError) or not error.connection_invalidated:
        raise error
    document = {"detail": "the connection to the database was lost: it is not known whether this was done"}
    return JSONResponse(document, status.HTTP_503_SERVICE_UNAVAILABLE, {"Retry-After": "1"})
