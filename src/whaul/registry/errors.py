"""How the registry fails, in words for operators. What API callers see is decided elsewhere.

    RegistryError
    ├── RegistryUnavailableError   the database did not answer; the foreign exception is the cause
    └── SchemaError                the database answered, but this version cannot use its schema (or it is not whaul's)
        ├── SchemaMissingError     there is nothing in it yet
        ├── SchemaOutdatedError    `whaul migrate` brings it up
        └── SchemaTooNewError      a newer whaul has changed it in a way that this version does not understand

Messages name no address and no credential of the database. Those of a SchemaError say what to do.
"""


class RegistryError(Exception):
    """The registry failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class RegistryUnavailableError(RegistryError):
    """The registry's database did not answer."""

    @property
    def reason(self) -> str:
        """What the database or its driver said; for operators, never for API callers."""
        cause = getattr(self.__cause__, "orig", None) or self.__cause__
        return str(cause or "") or ("no answer in time" if isinstance(cause, TimeoutError) else "")


class SchemaError(RegistryError):
    """This version cannot use the schema of the registry's database."""


class SchemaMissingError(SchemaError):
    """The registry's database is empty; run `whaul migrate`."""


class SchemaOutdatedError(SchemaError):
    """The registry's database has the schema of an older whaul; run `whaul migrate`."""


class SchemaTooNewError(SchemaError):
    """The registry's database was brought to its schema by a newer whaul; run that version or restore a backup."""


class PageTokenError(ValueError):
    """The page token was not made by this registry for this list."""

    def __init__(self) -> None:
        super().__init__((type(self).__doc__ or "").strip())


class TooManyTagsError(ValueError):
    """The resource would have more tags than a resource can have."""

    def __init__(self) -> None:
        super().__init__((type(self).__doc__ or "").strip())
