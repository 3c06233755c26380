"""The application: `uvicorn chat.main:app`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import REGISTRY

from chat.api.messages import router as messages
from chat.config.settings import Settings
from chat.core.errors import install_lost_connections
from chat.database.replica_manager import make_replica_manager
from replctl.router.fastapi import ClientTokens, ReadYourWrites, install_error_handlers, serving
from replctl.router.fastapi import router as health
from replctl.router.fastapi_metrics import metrics_router
from replctl.router.metrics import register


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    manager = make_replica_manager()
    collector = register(manager)
    try:
        async with serving(manager):
            yield
    finally:
        REGISTRY.unregister(collector)


def make_app(settings: Settings) -> FastAPI:
    app = FastAPI(title="chat", lifespan=lifespan)
    app.include_router(messages)
    app.include_router(health)
    app.include_router(metrics_router())
    install_error_handlers(app)
    install_lost_connections(app)
    if settings.token_key is not None:
        tokens = ClientTokens(settings.token_key, secure=settings.secure_cookies)
        app.add_middleware(ReadYourWrites, tokens=tokens)
    return app


logging.basicConfig(level=logging.INFO)
app = make_app(Settings.from_environ())
