"""A visit: one request of somebody who is signed in, and what a page may do for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from whaul.auth.caller import Caller
from whaul.errors import AccessDeniedException, ApiError

if TYPE_CHECKING:
    from whaul.console.console import Console

ANYTHING: Final = "*"


class PageError(Exception):
    """There is no page to show; the text says why, and what to do."""

    def __init__(self, text: str, status: int = 404) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


@dataclass(slots=True)
class Visit:
    """One request. `console` has what pages ask: the registry, the journal, the settings, ..."""

    request: Request
    caller: Caller
    session: str = field(repr=False)
    """Its token."""
    console: "Console"
    renew: Callable[[], Awaitable[bool]] = field(repr=False)
    """Whether the visitor is who they were: signed in, with the same policy. For an answer that takes long."""
    person: str | None = None
    """Who signed in as the caller, if a provider said it."""
    resources: list[str] = field(default_factory=list)
    """What was asked for by `require`, for the audit log."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else the audit log is to have; nothing secret or personal."""
    error: ApiError | None = None
    """What was refused, for the audit log, if a page tells of it."""

    def may(self, action: str, resource: str = ANYTHING) -> bool:
        """Say whether the caller's policy allows an action on a resource."""
        return self.caller.policy.evaluate(action, resource).allowed

    def require(self, action: str, resource: str = ANYTHING) -> None:
        """Refuse what the caller's policy does not allow, with AccessDeniedException."""
        self.resources.append(resource)
        self.caller.authorize(action, resource)

    def may_somewhere(self, action: str) -> bool:
        """Say whether an action may be allowed on something."""
        return self.caller.policy.allows_somewhere(action)

    def require_somewhere(self, action: str) -> None:
        """Refuse an action that is allowed on nothing, with AccessDeniedException."""
        if not self.may_somewhere(action):
            self.caller.authorize(action, ANYTHING)
            raise AccessDeniedException

    def may_on_account(self, action: str, meta_waba_id: str) -> bool:
        """Say whether an action is allowed on an account, linked or not, by Meta's id of it."""
        return self.may(action, self.console.account_arn(meta_waba_id))

    def require_on_account(self, action: str, meta_waba_id: str) -> None:
        """Refuse an action on an account; see `require`."""
        self.require(action, self.console.account_arn(meta_waba_id))

    async def account_ids(self, *actions: str) -> tuple[str, ...] | None:
        """List the accounts on which all these actions are allowed, by their ids; None for all, linked or not."""
        policy, arns = self.caller.policy, self.console.arns
        if all(policy.allows_everywhere(action, arns.arn("waba-*")) for action in actions):
            return None
        named = next((each for each in map(policy.resources_named, actions) if each is not None), None)
        # There may be 100,000 accounts: they are read only if the policy has wildcards, and nothing but their ids.
        ids = await self.console.registry.accounts.ids() if named is None else map(arns.read_waba, named)
        return tuple(id_ for id_ in ids if id_ is not None and all(self.may(each, arns.arn(id_)) for each in actions))

    async def destinations(self, action: str) -> list[str]:
        """List the names of the destinations on which an action is allowed."""
        names = [each.name for each in await self.console.destinations.all()]
        return [name for name in names if self.may(action, self.console.arns.event_destination(name))]

    async def form(self) -> FormData:
        """Read the form that was sent."""
        return await self.request.form()

    async def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Show a page."""
        return HTMLResponse(self.html(template, **values), status)

    def html(self, template: str, **values: Any) -> str:
        """Write a page, with the navigation."""
        notice = self.console.notices.pop(self.session, None)
        navigation = self.console.navigation.of(self.caller.policy)
        return self.console.templates.render(
            template, visit=self, path=self.request.url.path, navigation=navigation, notice=notice, **values
        )

    def fragment(self, template: str, **values: Any) -> Response:
        """Send a part of a page, a template that the page includes, for a script to put in its place."""
        return HTMLResponse(self.console.templates.render(template, **values))

    def part(self, template: str, macro: str, *arguments: Any) -> str:
        """Write a part of a page: a macro of a template."""
        return self.console.templates.macro(template, macro, *arguments)

    def back(self, path: str, notice: str) -> Response:
        """Go to a page after a change, and say there what was done."""
        self.console.notices[self.session] = notice
        return RedirectResponse(path, 303)

    @property
    def is_over(self) -> Callable[[], bool]:
        """Say whether the server stops, so that an answer without end has to end."""
        return self.console.is_ending
