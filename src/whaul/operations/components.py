"""What operations work with; `app` builds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whaul.arns import Arns
from whaul.errors import AccessDeniedByMetaException
from whaul.events.delivery.api_destinations import ApiDestinations
from whaul.events.receiving.verify_tokens import VerifyTokens
from whaul.graph.client import GraphClient
from whaul.model import StoredObject
from whaul.operations.owned import Owned
from whaul.operations.refresh import Refreshes
from whaul.outbound.circuit import Circuits
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.registry.cache import Lookup
from whaul.registry.registry import Registry
from whaul.storage.s3 import S3Store
from whaul.timeouts import Timeouts
from whaul.transfer.idempotency import Idempotency
from whaul.transfer.single_flight import SingleFlight
from whaul.transfer.slots import TransferSlots


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide over calls."""

    arns: Arns
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
    event_destinations: ApiDestinations
    verify_tokens: VerifyTokens
    transfers: SingleFlight[StoredObject] = field(default_factory=SingleFlight)
    """Downloads under way, which identical calls share."""
    done: Idempotency[Any] = field(default_factory=Idempotency)
    """What came of calls that Meta must not get twice, a moment ago."""
    owned: Owned = field(default_factory=Owned)
    timeouts: Timeouts = field(default_factory=Timeouts)
    """Those of calls."""

    async def drain(self) -> None:
        """Wait for what no call waits for any more."""
        await self.transfers.drain()
        await self.done.drain()
