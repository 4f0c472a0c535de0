"""What pages ask: the registry, the events and the store of files, opened while the console runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from whaul import __version__
from whaul.arns import Arns
from whaul.build import commit
from whaul.console.checkups import Checkups
from whaul.console.navigation import Navigation
from whaul.console.operations import Operations
from whaul.console.recent import Recent
from whaul.console.rendering import Templates
from whaul.console.servers import Build, Servers
from whaul.events.archive.archives import Archives
from whaul.events.database.store import Store
from whaul.events.delivery.dead import DeadLetters
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.history import History
from whaul.events.delivery.replays import Replays
from whaul.events.journal import Journal
from whaul.events.people import Hashes
from whaul.events.receiving.subscriptions import Subscriptions
from whaul.events.receiving.verify_tokens import VerifyTokens
from whaul.events.targets.addresses import Targets
from whaul.graph.client import GraphClient
from whaul.outbound.http import HttpClient
from whaul.registry.registry import Registry
from whaul.secrets import Cipher
from whaul.settings import Settings
from whaul.storage.s3 import S3Store

MAX_KEPT: Final = 1000


class Kept(dict[str, str]):
    """Short texts that may be forgotten: of too many the oldest goes."""

    def __setitem__(self, key: str, text: str) -> None:
        """Keep a text."""
        super().__setitem__(key, text)
        while len(self) > MAX_KEPT:
            del self[next(iter(self))]


@dataclass(kw_only=True)
class Console:
    """Opened once for all visits."""

    settings: Settings
    registry: Registry
    store: Store
    """The tables of events."""
    cipher: Cipher = field(repr=False)
    http: HttpClient
    s3: S3Store
    graph: GraphClient
    operations: Operations
    """What an SDK can do, too."""
    targets: Targets
    """Makes what events are sent by, for test events."""
    templates: Templates
    navigation: Navigation
    is_ending: Callable[[], bool]
    """Whether the server stops."""
    notices: Kept = field(default_factory=Kept)
    """What the next page of a session says, by its token."""
    sent: Kept = field(default_factory=Kept)
    """What was made or sent by forms that may not be used again."""
    last_numbers: Kept = field(default_factory=Kept)
    """The number that a session wrote from last, by its token."""
    checkups: Checkups = field(default_factory=Checkups)

    @cached_property
    def build(self) -> Build:
        """Which whaul this process runs."""
        return Build(__version__, commit() or "")

    @cached_property
    def servers(self) -> Servers:
        """What servers say of themselves."""
        return Servers(self.settings)

    @property
    def owner(self) -> str:
        """The account number."""
        return self.settings.account_id

    @cached_property
    def arns(self) -> Arns:
        """Ids and ARNs."""
        return Arns(self.owner, self.settings.region)

    def account_arn(self, meta_waba_id: str) -> str:
        """Name an account, linked or not."""
        return self.arns.arn(self.arns.waba_id(meta_waba_id))

    @cached_property
    def journal(self) -> Journal:
        """The events."""
        return Journal(self.store, self.cipher, self.owner)

    @cached_property
    def recent(self) -> Recent:
        """The newest events, for lists that are live."""
        return Recent(self.journal)

    @cached_property
    def destinations(self) -> Destinations:
        """Where events go."""
        return Destinations(self.store, self.cipher, self.owner)

    @cached_property
    def history(self) -> History:
        """How destinations take events."""
        return History(self.store, self.cipher, self.owner)

    @cached_property
    def replays(self) -> Replays:
        """Events that are sent once more."""
        return Replays(self.store, self.cipher, self.owner)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Deliveries that were given up."""
        return DeadLetters(self.store, self.cipher, self.owner)

    @cached_property
    def archives(self) -> Archives:
        """Where files are kept."""
        return Archives(self.store, self.cipher, self.owner)

    @cached_property
    def people(self) -> Hashes:
        """How people are found."""
        return Hashes(self.store, self.cipher, self.owner)

    async def subscriptions(self) -> Subscriptions:
        """Where Meta sends webhooks."""
        token = await VerifyTokens(self.store, self.cipher, self.owner).current()
        return Subscriptions(self.graph, self.http, token, self.settings.app_secrets)
