"""What the audit log is told of what people do in the console."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from whaul.auth.caller import Caller
from whaul.errors import ApiError
from whaul.telemetry.audit import AuditLog, ConsoleAction
from whaul.telemetry.clients import ClientAddress


class Recorder:
    """Writes records, if there is an audit log."""

    def __init__(self, audit: AuditLog | None, clients: ClientAddress) -> None:
        self._audit = audit
        self._clients = clients

    def record(
        self,
        request: Request,
        name: str,
        caller: Caller | None,
        error: ApiError | None,
        parameters: Mapping[str, Any],
        *,
        person: str | None = None,
    ) -> None:
        """Record an action, and the error that it ended with."""
        if self._audit is None:
            return
        self._audit.record_console(
            ConsoleAction(
                name=name,
                access_key_id=None if caller is None else caller.access_key_id,
                caller=None if caller is None else caller.name,
                client=self.client(request),
                user_agent=request.headers.get("user-agent"),
                reads=request.method == "GET",
                parameters=parameters,
                error=None if error is None else "Failure" if name == "SignIn" else error.code,
                message=None if error is None else error.message,
                person=person,
            )
        )

    def client(self, request: Request) -> str | None:
        """Return the address of who makes a request."""
        peer = request.client
        return self._clients.of(None if peer is None else peer.host, request.scope["headers"])
