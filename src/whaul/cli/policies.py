"""Policies of access keys: read from files, looked over, and simulated."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaul.cli import key_records, output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from whaul.auth.policy import Decision
    from whaul.settings import Settings


def simulate(
    key_id: Annotated[str | None, typer.Argument(metavar="ID", help="The access key id, unless --policy.")] = None,
    *,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="A policy that no key has yet.")] = None,
    action: Annotated[
        str | None, typer.Option(help="As in a policy: social-messaging:GetWhatsAppMessageMedia.", show_default=False)
    ] = None,
    resource: Annotated[
        str | None, typer.Option(metavar="ARN", help="Ask about this action on this resource only; * for none.")
    ] = None,
    phone_number_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Of the call: phone-number-id-…, its ARN, or Meta's id.")
    ] = None,
    waba_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Of the call: waba-…, its ARN, or Meta's id.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="s3://BUCKET/KEY", help="Of the call: where a media file is to be stored.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="s3://BUCKET/KEY", help="Of the call: the file to send to Meta.")
    ] = None,
    media_id: Annotated[
        str, typer.Option(metavar="ID", help="Of the call; it is part of the final key.")
    ] = "1000000000001",
    mime_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Of the file; it decides over the extension of the final key.")
    ] = "image/jpeg",
    json: Json = False,
) -> None:
    """Show whether a policy allows a call: each action that the call needs, and which statement decides.

    With --resource it asks about one action on one resource.

    Examples:
        whaul keys simulate --policy policy.json --phone-number-id 500000000000001 --to s3://inbox/photos/
        whaul keys simulate AKIA… --action SendWhatsAppMessage --phone-number-id 500000000000001
        whaul keys simulate AKIA… --action s3:PutObject --resource arn:aws:s3:::inbox/photos/1.jpeg
    """
    from whaul.arns import Arns
    from whaul.auth.explanation import in_words, near_misses
    from whaul.auth.policy import Policy
    from whaul.cli.simulated_call import SimulatedCall, one_need
    from whaul.settings import Settings

    if (key_id is None) == (policy is None):
        raise typer.BadParameter("give either the ID of a key, or --policy FILE")
    call = SimulatedCall(action, phone_number_id, waba_id, to, source, media_id, mime_type)
    alone = one_need(action or "", resource) if resource is not None else None
    settings = Settings.load()
    needs = [alone] if alone else call.needs(settings, Arns(settings.account_id, settings.region))
    key = asyncio.run(key_records.record(settings, key_id)) if key_id is not None else None
    text = read_policy(policy, settings) if policy is not None else key.policy if key else ""
    parsed = Policy.parse(text)
    decisions = [(*need, parsed.evaluate(*need)) for need in needs]
    if key is not None:
        warn(text, settings, "its policy")
    _warn_of_action(needs[0][0], settings)
    if json:
        named = {"accessKeyId": key and key.access_key_id, "name": key and key.name}
        output.document(named | (_shape(*decisions[0]) if alone else _call_shape(decisions)))
    elif alone:
        output.line(f"{in_words(decisions[0][2])}.")
    else:
        for each, on, decision in decisions:
            output.line(f"{in_words(decision)}: {each} on {on}")
        output.line(f"The call is {'allowed' if all(each.allowed for *_, each in decisions) else 'denied'}.")
    for each, on, decision in decisions:
        if not decision.explicit:
            for told in near_misses(parsed, each, on):
                output.tell(f"{told}.")
    if key is not None and key_records.state(key).startswith(("disabled", "expired")):
        output.tell(f"The key is {key_records.state(key)}: its calls are refused, whatever its policy says.")


def origin(path: Path) -> str:
    """Name a file that a policy is read from; `-` is standard input."""
    return "standard input" if str(path) == "-" else str(path)


def read_policy(path: Path, settings: "Settings") -> str:
    """Read a policy document that can be evaluated, and warn of what has no effect in it."""
    from whaul.auth.policy import Policy, PolicyError

    try:
        content = output.standard_input().read() if str(path) == "-" else path.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandError(f"cannot read {origin(path)}: {reason}") from None
    try:
        Policy.parse(text)
    except PolicyError as error:
        raise CommandError(f"{origin(path)}: {error}") from None
    warn(text, settings, origin(path))
    return text


def warn(text: str, settings: "Settings", source: str) -> None:
    """Tell what has no effect in a policy document that can be evaluated."""
    from whaul.arns import Arns
    from whaul.auth.policy_check import warnings
    from whaul.operations.actions import actions

    for warning in warnings(text, actions(Arns(settings.account_id, settings.region))):
        output.tell(f"warning: {source}: {warning}")


def _warn_of_action(action: str, settings: "Settings") -> None:
    from whaul.arns import Arns
    from whaul.auth.policy_check import unknown_action
    from whaul.operations.actions import actions

    warning = unknown_action(action, actions(Arns(settings.account_id, settings.region)))
    if warning is not None:
        output.tell(f"warning: {warning}")


def _shape(action: str, resource: str, decision: "Decision") -> dict[str, object]:
    from whaul.auth.explanation import outcome

    return {
        "action": action,
        "resource": resource,
        "decision": outcome(decision),
        "statement": decision.statement,
    }


def _call_shape(decisions: "list[tuple[str, str, Decision]]") -> dict[str, object]:
    """Of a whole call, which the first need that is denied decides."""
    needs = [_shape(*each) for each in decisions]
    denied = [each["decision"] for each in needs if each["decision"] != "allowed"]
    return {"decision": denied[0] if denied else "allowed", "needs": needs}
