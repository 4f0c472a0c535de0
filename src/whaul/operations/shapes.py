"""Linked accounts in the words of the AWS API: the shapes that its operations answer.

A test compares their members with the service's model.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from whaul.api.response import Document
from whaul.model import LinkedAccount, LinkedPhoneNumber

WriteDate = Callable[[datetime], object]


def linked_account(
    account: LinkedAccount, date: WriteDate = datetime.isoformat, destinations: Sequence[Document] = ()
) -> Document:
    """Shape a `LinkedWhatsAppBusinessAccount`; `date` writes dates: ISO 8601, as the AWS CLI prints them."""
    return linked_account_summary(account, date, destinations) | {
        "phoneNumbers": [phone_number(number) for number in account.phone_numbers]
    }


def linked_account_summary(
    account: LinkedAccount, date: WriteDate = datetime.isoformat, destinations: Sequence[Document] = ()
) -> Document:
    """Shape a `LinkedWhatsAppBusinessAccountSummary`; `destinations` are those of its events.

    An account without phone numbers, or with one that is not registered, is INCOMPLETE.
    """
    return {
        "arn": account.arn,
        "id": account.id,
        "wabaId": account.meta_waba_id,
        "registrationStatus": "COMPLETE" if account.is_complete else "INCOMPLETE",
        "linkDate": date(account.linked_at),
        "wabaName": account.name,
        "eventDestinations": list(destinations),
    }


def phone_number(number: LinkedPhoneNumber) -> Document:
    """Shape a `WhatsAppPhoneNumberSummary` or `WhatsAppPhoneNumberDetail`, which have the same members.

    `phoneNumber` is the number in E.164, `+15550100100` say.
    """
    shape = {
        "arn": number.arn,
        "phoneNumber": "+" + re.sub(r"[^0-9]", "", number.display_phone_number),
        "phoneNumberId": number.id,
        "metaPhoneNumberId": number.meta_id,
        "displayPhoneNumberName": number.verified_name,
        "displayPhoneNumber": number.display_phone_number,
        "qualityRating": number.quality_rating,
    }
    if number.data_localization_region is not None:
        shape["dataLocalizationRegion"] = number.data_localization_region
    return shape
