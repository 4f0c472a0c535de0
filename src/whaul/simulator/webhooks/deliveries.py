"""What is known of each webhook that goes out: to whom, when, and what came back."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from whaul.simulator.apps import App, Level
from whaul.simulator.webhooks.faults import AnyWireFault

DeliveryState = Literal["due", "sending", "delivered", "dropped"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST, and what came back."""

    at: float
    """Unix time by the simulator's clock."""
    seconds: float
    status: int | None
    answer: str
    error: str | None


class ShownDelivery(TypedDict):
    """A webhook to one app, without its body."""

    id: str
    app_id: str
    url: str
    level: Level
    field: str
    size: int
    fault: AnyWireFault | None
    at: float
    state: DeliveryState
    due_at: float | None
    attempts: list[Attempt]


@dataclass(eq=False)
class Delivery:
    """A webhook to one app."""

    id: str
    app: App
    url: str
    level: Level
    """Whose URL it is: the `app`'s, the `account`'s or the `number`'s."""
    name: str
    """The field."""
    body: bytes = field(repr=False)
    fault: AnyWireFault | None
    at: float
    """When it came to be, in Unix time by the simulator's clock."""
    due_at: float | None
    """When it is sent next."""
    together: "list[Delivery]" = field(repr=False)
    """The deliveries of the same webhook, this one included."""
    state: DeliveryState = "due"
    attempts: list[Attempt] = field(default_factory=list)
    answered: Future[None] = field(default_factory=Future, repr=False)
    """Done once the attempt that it is due for has been made, or the delivery dropped."""

    def describe(self) -> ShownDelivery:
        """The delivery as JSON members, without its body."""
        return {
            "id": self.id,
            "app_id": self.app.id,
            "url": self.url,
            "level": self.level,
            "field": self.name,
            "size": len(self.body),
            "fault": self.fault,
            "at": self.at,
            "state": self.state,
            "due_at": self.due_at,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class Webhook:
    """What was posted, and to whom."""

    content: dict[str, Any]
    deliveries: list[Delivery]
