"""The gateway as an ASGI server calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from whaul.server.gateway import Gateway, Service
from whaul.telemetry.clients import ClientAddress
from whaul.telemetry.metrics import Metrics


@pytest.mark.anyio
@pytest.mark.parametrize("port", [50_123, "50123"])  # as uvicorn has it, and as Granian does
async def test_clients_being_answered_are_known_by_their_ports(port: Any) -> None:
    seen: list[set[int]] = []

    async def unready() -> list[str]:
        seen.append(set(gateway.busy))
        return []

    @asynccontextmanager
    async def serving(_: Gateway) -> AsyncIterator[Service]:
        nothing: Any = None
        yield Service(authenticator=nothing, rate_limit=nothing, operations={}, unready=unready, note_use=nothing)

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)
        if event["type"] == "lifespan.startup.complete":
            scope = {"type": "http", "method": "GET", "path": "/readyz", "client": ("127.0.0.1", port), "headers": []}
            await gateway(scope, receive, send)

    sent: list[Any] = []
    events: list[dict[str, Any]] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    gateway = Gateway(serving, Metrics(), ClientAddress(()))
    await gateway({"type": "lifespan"}, receive, send)
    assert [event["status"] for event in sent if "status" in event] == [200]
    assert seen == [{50_123}]
    assert not gateway.busy
