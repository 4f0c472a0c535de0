"""The settings of the simulator: what can be changed at run time for everything."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from whaul.simulator.media import ContentType, FileSize, Sha256

# Seconds between the attempts of a webhook: at once, then less and less often, for nearly seven days.
RETRY_DELAYS = (0, 10, 60, 5 * 60, 30 * 60, 3600, 3 * 3600, 6 * 3600, *(12 * 3600,) * 13)
WEEK = 7 * 24 * 3600

Status = Literal["sent", "delivered", "read", "failed"]
Delay = Annotated[float, Meta(ge=0, le=WEEK)]
Percentage = Annotated[int, Meta(ge=0)]
UnixTime = Annotated[int, Meta(ge=0)]


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What can be changed at run time for everything."""

    file_size: FileSize = "number"
    sha256: Sha256 = "hex"
    content_type: ContentType = "media"
    user_agent: Literal["any", "required-500", "required-redirect"] = "any"
    """What a download without User-Agent gets."""
    media_base_url: Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z")] | None = None
    """Where download URLs point; absent: to the address that the client called."""
    two_factor_pin: Annotated[str, Meta(pattern=r"^[0-9]{6}\Z")] | None = None
    """The PIN of every phone number; absent: any six digits will do."""
    token_expires_at: UnixTime = 0
    """When the token ends; 0: never."""
    token_data_access_expires_at: UnixTime = 0
    """When the token's access to data ends, unless the user renews it; 0: never."""
    token_scopes: tuple[str, ...] = (
        "whatsapp_business_management",
        "whatsapp_business_messaging",
        "whatsapp_business_manage_events",
    )
    """What the token may do. Without the last, there are no data sets."""
    public_key_answer: Literal["list", "flat"] = "list"
    """The form in which a number's public key is shown: as documented, or as it is seen."""
    template_review_delay: Annotated[float, Meta(ge=0, le=WEEK)] = 0.0
    """Seconds from a new template, or a changed one, to its review."""
    template_edit: Literal["PENDING", "APPROVED"] = "PENDING"
    """What an approved template is when it was changed: reviewed again, as AWS says, or used at once, as Meta does."""
    template_deletion: Literal["DELETED", "PENDING_DELETION"] = "DELETED"
    """What a deleted template is: gone at once, or for 30 days there, as while messages of it are under way."""
    max_templates: Annotated[int, Meta(ge=0)] = 250
    authentication_templates: list[str] = []
    """Names of templates that Meta sends to phone numbers only, not to business-scoped user ids."""
    message_statuses: tuple[Status, ...] = ("sent", "delivered", "read")
    """What becomes of a message that is sent, if webhooks of its number go anywhere."""
    webhook_retry_delays: Annotated[tuple[Delay, ...], Meta(max_length=100)] = RETRY_DELAYS
    """Seconds from each attempt of a webhook that was not answered with 200 to the next; after the last it is lost."""
    webhook_timeout: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """Seconds that a receiver has for its answer."""
    usage_headers: bool = True
    call_count: Percentage = 0
    total_cputime: Percentage = 0
    total_time: Percentage = 0
    estimated_time_to_regain_access: Annotated[int, Meta(ge=0)] = 0
    """Minutes."""
