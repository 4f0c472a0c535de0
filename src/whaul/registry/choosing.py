"""Which linked accounts a list is of, as conditions of a statement. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select

from whaul.model import REGISTERED
from whaul.registry.tables import AccountRow, PhoneNumberRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What is chosen; an empty one is all of them."""

    text: str = ""
    """In the account's name or one of its numbers, or an id of either: ours or Meta's."""
    incomplete: bool = False
    """Without numbers, or with one that is not registered."""
    low_quality: bool = False
    """With a number whose quality Meta rates yellow or red."""
    expires_before: datetime | None = None
    """Whose token ends before that."""
    app_unknown: bool = False
    """With an app secret, but no id of its app."""
    ids: Collection[str] | None = None
    """One of these, of which there are not many."""

    def conditions(self) -> list[Any]:
        """Write them for a statement that selects accounts."""
        number = AccountRow.phone_numbers
        found: list[Any] = []
        if self.text:
            found.append(or_(*self._named(self.text)))
        if self.incomplete:
            found.append(or_(~number.any(), number.any(PhoneNumberRow.status.not_in(REGISTERED))))
        if self.low_quality:
            found.append(number.any(PhoneNumberRow.quality_rating.in_(("YELLOW", "RED"))))
        if self.expires_before is not None:
            ends = AccountRow.token_expires_at
            found.append(and_(ends.is_not(None), ends < self.expires_before))
        if self.app_unknown:
            found.append(and_(AccountRow.app_secret.is_not(None), AccountRow.app_id.is_(None)))
        if self.ids is not None:
            found.append(AccountRow.id.in_(self.ids))
        return found

    @staticmethod
    def _named(text: str) -> list[Any]:
        id_ = text.rpartition("/")[2]  # of an ARN
        in_number = [
            PhoneNumberRow.display_phone_number.contains(text, autoescape=True),
            PhoneNumberRow.verified_name.icontains(text, autoescape=True),
            PhoneNumberRow.meta_id == text,
            PhoneNumberRow.id.in_((text, f"phone-number-id-{id_}")),
        ]
        digits = "".join(filter(str.isdigit, text))
        if len(digits) > 3:
            shown: Any = PhoneNumberRow.display_phone_number
            for mark in "+ -().":
                shown = func.replace(shown, mark, "")
            in_number.append(shown.contains(digits, autoescape=True))
        return [
            AccountRow.name.icontains(text, autoescape=True),
            AccountRow.meta_waba_id == text,
            AccountRow.id.in_((text, f"waba-{id_}")),
            # Not EXISTS for each account: one look at all numbers is faster by far.
            AccountRow.id.in_(select(PhoneNumberRow.account_id).where(or_(*in_number))),
        ]
