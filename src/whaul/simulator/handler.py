"""The life of a request: noted, admitted, hit by a fault or answered, sent, noted again."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from whaul.simulator.access import token_state
from whaul.simulator.delivery import Pauses, deliver
from whaul.simulator.faults import Fault, Hop, Latency
from whaul.simulator.faults.effects import substitute
from whaul.simulator.responses import RefusedError, Response
from whaul.simulator.state import State

Admit = Callable[[State, web.Request], None]
Respond = Callable[[Fault | None], Awaitable[Response]]
Finish = Callable[[Response, Fault | None], Response]


class Handler:
    """Handles every request but those of the control endpoint."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.pauses = Pauses()
        state.on_advance = self.pauses.advance

    async def handle(
        self,
        request: web.Request,
        *,
        hop: Hop | None,
        object_id: str,
        admit: Admit,
        respond: Respond,
        finish: Finish = lambda response, _: response,
    ) -> web.StreamResponse:
        """Answer one request.

        `admit` and `respond` may raise `RefusedError`; `finish` completes every response, refusals and faults too.
        Faults meet only those calls that were admitted.
        """
        state, begun = self.state, self.pauses.now()
        token = token_state(state, request)
        exchange = state.journal.open(request, at=state.now(), hop=hop, object_id=object_id, token=token)
        fault: Fault | None = None
        try:
            try:
                admit(state, request)
                fault = state.faults.take(object_id, hop, state.now()) if hop is not None else None
                if fault is not None:
                    exchange.fault = fault.kind
                    late = fault.seconds if isinstance(fault, Latency) else 0.0
                    begun += fault.delay + late
                    await self.pauses.until(begun)
                response = substitute(fault) or await respond(fault)
            except RefusedError as refused:
                response = refused.response
            return await deliver(request, finish(response, fault), fault, exchange, pauses=self.pauses, begun=begun)
        finally:
            state.journal.close(exchange)
