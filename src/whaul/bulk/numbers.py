"""The phone numbers of a run: that of the command line, and those that the list names."""

from whaul.arns import Arns, read_meta_id
from whaul.bulk.wanted import Wanted
from whaul.errors import DependencyException, ResourceNotFoundException, ValidationException
from whaul.model import PhoneNumber
from whaul.registry.accounts import Accounts
from whaul.registry.errors import RegistryError

MAX_CHOICES = 5
"""Linked numbers that a message names."""


class Numbers:
    """Finds linked numbers by our id, ARN or Meta's id."""

    def __init__(self, accounts: Accounts, arns: Arns) -> None:
        self._accounts = accounts
        self._arns = arns
        self._default: PhoneNumber | None = None
        self._advice = ""
        self._found: dict[str, PhoneNumber] = {}

    async def choose(self, given: str | None) -> None:
        """Choose the number of what the list says no number of; the only linked one if none is `given`.

        Raises `ResourceNotFoundException` if it is not linked.
        """
        if given is not None:
            self._default = await self.find(given)
            return
        linked, count = await self._accounts.first_numbers(MAX_CHOICES)
        if count == 1:
            self._default = await self.find(linked[0].id)
        elif not linked:
            raise ResourceNotFoundException("No phone number is linked; `whaul link` links an account and its numbers.")
        names = [f"{number.id} ({number.display_phone_number})" for number in linked]
        more = "" if count <= MAX_CHOICES else f" or one of {count - MAX_CHOICES} more"
        self._advice = f"Several phone numbers are linked; give --phone-number-id: {', '.join(names)}{more}."

    @property
    def default(self) -> PhoneNumber:
        """The number of what the list says no number of. Raises `ValidationException` if there are several."""
        if self._default is None:
            raise ValidationException(self._advice)
        return self._default

    async def of(self, wanted: Wanted) -> PhoneNumber:
        """Find who received a media. Raises an `ApiError` for a number that is not linked."""
        return self.default if wanted.number is None else await self.find(wanted.number)

    async def find(self, name: str) -> PhoneNumber:
        """Find a number. Raises `ResourceNotFoundException`."""
        found = self._found.get(name)
        if found is None:
            meta_id = read_meta_id(name)
            id_ = self._arns.phone_number_id(meta_id) if meta_id else self._arns.read_phone_number(name)
            try:
                found = await self._accounts.phone_number(id_) if id_ is not None else None
            except RegistryError as error:
                raise DependencyException(f"The linked accounts cannot be read: {error}") from error
            if found is None:
                raise ResourceNotFoundException(
                    f"No phone number {name[:100]} is linked; `whaul accounts` lists what is linked."
                )
            self._found[name] = found
        return found
