"""GET /metrics for FastAPI: needs both of ``replctl[fastapi,metrics]``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool


def metrics_router(registry: CollectorRegistry = REGISTRY, path: str = "/metrics") -> APIRouter:
    """Everything that the registry knows, in the format that the scraper asks for. ``register`` adds the databases."""
    routes = APIRouter(tags=["metrics"])

    async def get_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await run_in_threadpool(encode, registry), media_type=content_type)

    routes.add_api_route(path, get_metrics, response_class=Response, summary="Metrics for Prometheus")
    return routes
