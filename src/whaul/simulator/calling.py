"""Voice calls: who permits them, how one begins and ends, and what Meta refuses.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/business-initiated-calls
https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/user-call-permissions
"""

import base64
import secrets
from collections.abc import Mapping
from typing import Any, Final, Literal

from whaul.simulator.calls import Call
from whaul.simulator.model import Permission, PermissionStatus, PhoneNumber, VoiceCall
from whaul.simulator.responses import RefusedError, graph_error, invalid
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.webhooks.envelope import of_number
from whaul.simulator.webhooks.people import CUSTOMER, RECIPIENT, SENDER, USER_ID, contact, digits, named, person
from whaul.simulator.webhooks.sender import Webhooks

TEMPORARY: Final = 7 * 24 * 3600
DAY: Final = 24 * 3600
MAX_CALLS_A_DAY: Final = 10
SDP: Final = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"

UserAction = Literal["accept", "reject", "terminate"]


async def read_permission(call: Call) -> Any:
    """`GET /{phone-number-id}/call_permissions`: of `user_wa_id` or `recipient`."""
    query = call.request.query
    user = query.get("user_wa_id") or query.get("recipient")
    if not user or ("recipient" in query and not USER_ID.fullmatch(user)):
        raise invalid("Param user_wa_id or recipient must name a person.")
    _check_enabled(call.object)
    found, used = _permission(call.state, call.object, user), _called(call.state, call.object, user)
    may_call = found.status != "no_permission" and used < MAX_CALLS_A_DAY
    limits = [{"time_period": "PT24H", "max_allowed": MAX_CALLS_A_DAY, "current_usage": used}]
    permission: dict[str, Any] = {"status": found.status}
    if found.expires_at is not None:
        permission["expiration_time"] = found.expires_at
    asking = {"action_name": "send_call_permission_request", "can_perform_action": found.status == "no_permission"}
    calling = {"action_name": "start_call", "can_perform_action": may_call, "limits": limits}
    return {"messaging_product": "whatsapp", "permission": permission, "actions": [asking, calling]}


async def act(call: Call) -> Any:
    """`POST /{phone-number-id}/calls`."""
    content = await call.body()
    if content.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required.")
    action = content.get("action")
    if action == "connect":
        return _connect(call, content)
    if action not in {"pre_accept", "accept", "reject", "terminate"}:
        raise invalid("Param action must be one of {connect, pre_accept, accept, reject, terminate}.")
    found = call.state.voice_calls.get(str(content.get("call_id")))
    if found is None or found.phone_number_id != call.object.id or found.state == "ENDED":
        raise invalid("Param call_id must be a call that is not over.")
    if action in {"pre_accept", "accept"}:
        _check_session(content, "answer")
        found.state = "ACCEPTED" if action == "accept" else found.state
    else:
        _end(call, found)
    return {"messaging_product": "whatsapp", "success": True}


class Calling:
    """The people at the other end. Everything that they do is told by a webhook."""

    def __init__(self, state: State, webhooks: Webhooks) -> None:
        self._state = state
        self._webhooks = webhooks

    def permit(
        self, user: str = CUSTOMER, *, status: PermissionStatus = "temporary", phone_number_id: str | None = None
    ) -> dict[str, Any]:
        """Let a person permit calls from a number (the first), or none; return the value of Meta's webhook of it."""
        state, number, user = self._state, self._number(phone_number_id), _known(user)
        until = int(state.now()) + TEMPORARY if status == "temporary" else None
        state.call_permissions[number.id, user] = Permission(status, until)
        reply: dict[str, Any] = {"response": "reject" if status == "no_permission" else "accept"}
        reply |= {"expiration_timestamp": until} if until is not None else {}
        reply["is_permanent"] = status == "permanent"
        interactive = {"type": "call_permission_reply", "call_permission_reply": reply}
        told = {"id": _new_id("wamid."), "timestamp": str(int(state.now())), "type": "interactive"}
        ids = person(user)
        message = {**named(ids, SENDER), **told, "interactive": interactive}
        value = of_number(number, {"contacts": [contact(ids)], "messages": [message]})
        self._webhooks.emit(WABA_ID, "messages", value)
        return value

    def ring(self, user: str = CUSTOMER, *, phone_number_id: str | None = None) -> VoiceCall:
        """Let a person call a number (the first)."""
        number = self._number(phone_number_id)
        made = _new_call(self._state, number, _known(user), "USER_INITIATED")
        session = {"sdp_type": "offer", "sdp": SDP}
        self._webhooks.emit(WABA_ID, "calls", _event(self._state, number, made, event="connect", session=session))
        return made

    def act(self, call_id: str, action: UserAction) -> VoiceCall:
        """Let the person at the other end `accept`, `reject` or `terminate` a call.

        `KeyError` if there is no such call, `ValueError` if it is over, or not theirs to accept.
        """
        state = self._state
        if call_id not in state.voice_calls:
            raise MissingError(f"There is no call {call_id}.")
        found = state.voice_calls[call_id]
        rings = found.state == "RINGING" and found.direction == "BUSINESS_INITIATED"
        if found.state == "ENDED" or (action != "terminate" and not rings):
            raise BadValueError(f"The call is {found.state}, and the person cannot {action} it.")
        number = state.phone_number(found.phone_number_id)
        found.state = "ACCEPTED" if action == "accept" else "ENDED"
        if action == "terminate":
            value = _event(state, number, found, event="terminate", status="COMPLETED")
        else:
            value = _status(state, number, found, found.state if action == "accept" else "REJECTED")
        self._webhooks.emit(WABA_ID, "calls", value)
        return found

    def _number(self, phone_number_id: str | None) -> PhoneNumber:
        return self._state.phone_number(phone_number_id or next(iter(self._state.phone_numbers)))


def _known(user: str) -> str:
    """How a person is known here: by a user id, or a number's digits. Raises `BadValueError`."""
    known = user if USER_ID.fullmatch(user) else digits(user)
    if not known:
        raise BadValueError("user must be a phone number or a business-scoped user id.")
    return known


def _connect(call: Call, content: Mapping[str, Any]) -> Any:
    number, state = call.object, call.state
    user = digits(str(content.get("to") or "")) or str(content.get("recipient") or "")
    if not user:
        raise invalid("The parameter to is required.")
    _check_session(content, "offer")
    _check_enabled(number)
    if _permission(state, number, user).status == "no_permission":
        raise RefusedError(graph_error(138006))
    if any(one.user == user and one.state != "ENDED" for one in _calls(state, number)):
        raise RefusedError(graph_error(138003))
    if _called(state, number, user) >= MAX_CALLS_A_DAY:
        raise RefusedError(graph_error(138012))
    made = _new_call(state, number, user, "BUSINESS_INITIATED")
    value = _status(state, number, made, "RINGING")
    call.afterwards.append(lambda: call.webhooks.emit(WABA_ID, "calls", value))
    return {"messaging_product": "whatsapp", "calls": [{"id": made.id}]}


def _end(call: Call, found: VoiceCall) -> None:
    found.state = "ENDED"
    value = _event(call.state, call.object, found, event="terminate", status="COMPLETED")
    call.afterwards.append(lambda: call.webhooks.emit(WABA_ID, "calls", value))


def _check_enabled(number: PhoneNumber) -> None:
    if number.calling.get("status") == "DISABLED":
        raise RefusedError(graph_error(138000))


def _check_session(content: Mapping[str, Any], kind: str) -> None:
    session = content.get("session")
    if not isinstance(session, Mapping) or session.get("sdp_type") != kind or not session.get("sdp"):
        raise invalid(f"Param session needs an sdp, and the sdp_type {kind}.")


def _permission(state: State, number: PhoneNumber, user: str) -> Permission:
    found = state.call_permissions.get((number.id, user))
    if found is None or (found.expires_at is not None and found.expires_at <= state.now()):
        return Permission("no_permission")
    return found


def _calls(state: State, number: PhoneNumber) -> list[VoiceCall]:
    return [one for one in state.voice_calls.values() if one.phone_number_id == number.id]


def _called(state: State, number: PhoneNumber, user: str) -> int:
    """How often the person was called in the last day."""
    recent = [one for one in _calls(state, number) if one.user == user and one.begun_at > state.now() - DAY]
    return sum(one.direction == "BUSINESS_INITIATED" for one in recent)


def _new_call(
    state: State, number: PhoneNumber, user: str, direction: Literal["BUSINESS_INITIATED", "USER_INITIATED"]
) -> VoiceCall:
    made = VoiceCall(_new_id("wacid."), number.id, user, direction, int(state.now()))
    state.voice_calls[made.id] = made
    return made


def _event(state: State, number: PhoneNumber, found: VoiceCall, **members: Any) -> dict[str, Any]:
    ids = person(found.user)
    told = {"id": found.id, "to": digits(number.display_phone_number), **named(ids, SENDER), **members}
    told |= {"timestamp": str(int(state.now())), "direction": found.direction}
    return of_number(number, {"contacts": [contact(ids)], "calls": [told]})


def _status(state: State, number: PhoneNumber, found: VoiceCall, status: str) -> dict[str, Any]:
    told = {"id": found.id, "type": "call", "status": status, "timestamp": str(int(state.now()))}
    return of_number(number, {"statuses": [{**told, **named(person(found.user), RECIPIENT)}]})


def _new_id(prefix: str) -> str:
    return prefix + base64.b64encode(secrets.token_bytes(30)).decode()
