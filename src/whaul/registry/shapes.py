"""Linked accounts in the words of the AWS API: the shapes that Get- and ListLinkedWhatsAppBusinessAccount answer.

Holds no text of its own beyond member names; a test compares these with botocore's service model.
"""

import re

from whaul.registry.records import LinkedAccount, LinkedPhoneNumber


def linked_account(account: LinkedAccount) -> dict[str, object]:
    """Shape a `LinkedWhatsAppBusinessAccount`; `linkDate` is ISO 8601, as the AWS CLI prints it."""
    return linked_account_summary(account) | {
        "phoneNumbers": [phone_number_summary(number) for number in account.phone_numbers]
    }


def linked_account_summary(account: LinkedAccount) -> dict[str, object]:
    """Shape a `LinkedWhatsAppBusinessAccountSummary`; an account without phone numbers is INCOMPLETE."""
    return {
        "arn": account.arn,
        "id": account.id,
        "wabaId": account.meta_waba_id,
        "registrationStatus": "COMPLETE" if account.phone_numbers else "INCOMPLETE",
        "linkDate": account.linked_at.isoformat(),
        "wabaName": account.name,
        "eventDestinations": [],
    }


def phone_number_summary(number: LinkedPhoneNumber) -> dict[str, object]:
    """Shape a `WhatsAppPhoneNumberSummary`; `phoneNumber` is the number in E.164, `+15550100100` say."""
    return {
        "arn": number.arn,
        "phoneNumber": "+" + re.sub(r"[^0-9]", "", number.display_phone_number),
        "phoneNumberId": number.id,
        "metaPhoneNumberId": number.meta_id,
        "displayPhoneNumberName": number.verified_name,
        "displayPhoneNumber": number.display_phone_number,
        "qualityRating": number.quality_rating,
    }
