"""Messages to Meta: sent as they came, and never twice.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
"""

from typing import Final

import msgspec

from whaul.errors import DependencyException, Retry
from whaul.graph.calls import GraphCalls, decoded, not_documented
from whaul.graph.errors import UNKNOWN_END, CallKind
from whaul.model import GraphToken

SENDING: Final = CallKind(is_repeatable=False, names_object=False)


class _Message(msgspec.Struct):
    id: str


class _Sent(msgspec.Struct):
    messages: list[_Message] = []
    success: bool = False


class MessageCalls(GraphCalls):
    """The calls about messages."""

    async def send_message(self, token: GraphToken, meta_id: str, version: str, message: bytes) -> str | None:
        """Send a message object as a phone number, in that version of the API; return Meta's id of the message.

        None when Meta took it and gave no id, as for a message that is marked as read. An error is to be tried
        again only when Meta surely has not got the message, or refused it for the time being.
        """
        doing = "sending the message"
        url = self._url(token, f"{meta_id}/messages", version=version)
        answer = await self._call("POST", url, token, doing, body=message, kind=SENDING)
        try:
            sent = decoded(answer, _Sent, doing)
            if not sent.messages and not sent.success:
                raise not_documented(doing)
        except DependencyException as error:
            raise DependencyException(f"{error.message} {UNKNOWN_END}", retry=Retry.NO) from None
        return sent.messages[0].id if sent.messages else None
