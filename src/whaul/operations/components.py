"""What operations work with; `app` builds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from whaul.errors import AccessDeniedByMetaException
from whaul.graph.client import GraphClient
from whaul.model import StoredObject
from whaul.operations.refresh import Refreshes
from whaul.outbound.circuit import Circuits
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.registry.cache import Lookup
from whaul.registry.store import Registry
from whaul.server.limits import TransferSlots
from whaul.storage.s3 import S3Store
from whaul.transfer.download import Flights
from whaul.transfer.idempotency import Invocations


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide over calls."""

    account_id: str
    region: str
    partition: str
    """Of the region, in the ARNs of buckets."""
    deadline: float
    """Seconds for one call."""
    max_file_size: int
    """Bytes."""
    exact_keys: bool = False
    """Whether a key that a caller gives is the object's, with nothing added."""
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """What operations work with."""

    rules: Rules
    registry: Registry
    linked: Lookup
    """The registry's answers, kept for some seconds."""
    graph: GraphClient
    circuits: Mapping[type, Circuits[AccessDeniedByMetaException]]
    """Of phone numbers and of accounts, by their types."""
    http: HttpClient
    store: S3Store
    presigned_hosts: PresignedHosts
    slots: TransferSlots
    refreshes: Refreshes
    transfers: Flights[StoredObject] = field(default_factory=Flights)
    """Downloads under way, which identical calls share."""
    sent: Invocations[str | None] = field(default_factory=Invocations)
    """Meta's ids of messages that were sent a moment ago."""

    async def land(self) -> None:
        """Wait for what no call waits for any more."""
        await self.transfers.land()
        await self.sent.land()
