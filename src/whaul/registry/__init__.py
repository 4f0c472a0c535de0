"""The registry: linked accounts, their phone numbers, and access keys, in a database.

`open_registry` is the way in; `CachedRegistry` is what the request path asks.
"""

from whaul.registry.cache import CachedRegistry, Lookup
from whaul.registry.errors import (
    RegistryError,
    RegistryUnavailable,
    SchemaError,
    SchemaMissing,
    SchemaOutdated,
    SchemaTooNew,
)
from whaul.registry.records import (
    AccessKeyRecord,
    LinkedAccount,
    LinkedPhoneNumber,
    NewAccount,
    NewPhoneNumber,
)
from whaul.registry.store import Registry, open_registry

__all__ = [
    "AccessKeyRecord",
    "CachedRegistry",
    "LinkedAccount",
    "LinkedPhoneNumber",
    "Lookup",
    "NewAccount",
    "NewPhoneNumber",
    "Registry",
    "RegistryError",
    "RegistryUnavailable",
    "SchemaError",
    "SchemaMissing",
    "SchemaOutdated",
    "SchemaTooNew",
    "open_registry",
]
