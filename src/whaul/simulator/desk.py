"""The life of one request: noted, admitted, hit by a fault or answered, delivered, noted again."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from whaul.simulator.access import token_state
from whaul.simulator.answers import Answer, RefusedError
from whaul.simulator.delivery import deliver, pause
from whaul.simulator.faults import Fault, Hop, Latency
from whaul.simulator.scripted import substitute
from whaul.simulator.state import State

Admit = Callable[[State, web.Request], None]
Respond = Callable[[Fault | None], Awaitable[Answer]]
Finish = Callable[[Answer, Fault | None], Answer]


class Desk:
    """Handles every request but those of the control endpoint."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.closing = asyncio.Event()

    async def handle(
        self,
        request: web.Request,
        *,
        hop: Hop | None,
        object_id: str,
        admit: Admit,
        respond: Respond,
        finish: Finish = lambda answer, _: answer,
    ) -> web.StreamResponse:
        """Answer one request.

        `admit` and `respond` may raise `RefusedError`; `finish` completes every answer, refusals and faults too.
        Faults meet only those calls that were admitted.
        """
        state = self.state
        exchange = state.journal.open(
            token=token_state(state, request),
            at=state.now(),
            method=request.method,
            path=request.rel_url.raw_path,
            query=request.query,
            headers=request.headers,
            hop=hop,
            object_id=object_id,
        )
        fault: Fault | None = None
        try:
            try:
                admit(state, request)
                fault = state.faults.take(object_id, hop, state.now()) if hop is not None else None
                if fault is not None:
                    exchange.fault = fault.kind
                    await self._wait(fault)
                answer = substitute(fault) or await respond(fault)
            except RefusedError as refused:
                answer = refused.answer
            return await deliver(request, finish(answer, fault), fault, exchange, self.closing)
        finally:
            state.journal.close(exchange)

    async def _wait(self, fault: Fault) -> None:
        seconds = fault.delay + (fault.seconds if isinstance(fault, Latency) else 0.0)
        if seconds:
            await pause(self.closing, seconds)
