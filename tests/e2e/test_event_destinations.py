"""PutWhatsAppBusinessAccountEventDestinations with boto3: to topics and queues at moto, by real processes."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from harness import moto
from harness.world import Gateway, World
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET

KEYS = {"region_name": "eu-west-1", "aws_access_key_id": "t", "aws_secret_access_key": "t"}
PUT = "social-messaging:PutWhatsAppBusinessAccountEventDestinations"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto.moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(world: World, aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("destinations")
    environ = {
        "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
        "AWS_ENDPOINT_URL_SNS": aws,
        "AWS_ENDPOINT_URL_SQS": aws,
        "AWS_ENDPOINT_URL_EVENTBRIDGE": aws,
    }
    own = World(world.simulator, world.environ | environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    own.link("--app-secret-file", str(folder / "app-secret"))
    with own.gateway() as running:
        yield running


@pytest.fixture
def account(gateway: Gateway) -> Iterator[str]:
    (found,) = gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"]
    yield str(found["id"])
    put(gateway, found["id"])


def put(gateway: Gateway, account: str, *arns: str, key: Any = None, **more: str) -> None:
    destinations = [{"eventDestinationArn": arn, **more} for arn in arns]
    client = gateway.client(key)
    client.put_whatsapp_business_account_event_destinations(id=account, eventDestinations=destinations)


def put_ones(gateway: Gateway, account: str) -> Any:
    client = gateway.client()
    found = client.get_linked_whatsapp_business_account(id=account)["account"]["eventDestinations"]
    (listed,) = client.list_linked_whatsapp_business_accounts()["linkedAccounts"]
    assert listed["eventDestinations"] == found
    return found


def topic(aws: str, name: str) -> tuple[str, str]:
    """A topic with a queue behind it, without raw delivery, as most have it."""
    sns, sqs = boto3.client("sns", endpoint_url=aws, **KEYS), boto3.client("sqs", endpoint_url=aws, **KEYS)
    arn = sns.create_topic(Name=name)["TopicArn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue)
    return arn, url


def arrived(aws: str, url: str) -> Any:
    """The next message of a queue."""
    sqs = boto3.client("sqs", endpoint_url=aws, **KEYS)
    while True:
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages")
        if found:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
            return json.loads(found[0]["Body"])


def test_a_message_reaches_the_topic_as_aws_publishes_it(
    gateway: Gateway, account: str, aws: str, simulator: Simulator
) -> None:
    arn, url = topic(aws, "whatsapp")
    put(gateway, account, arn)
    assert put_ones(gateway, account) == [{"eventDestinationArn": arn}]
    gateway.world.whaul("webhooks", "subscribe", simulator.waba_id, "--url", gateway.url)
    simulator.send_webhook("image")
    notification = arrived(aws, url)
    assert (notification["Type"], notification["TopicArn"]) == ("Notification", arn)
    envelope = json.loads(notification["Message"])
    members = ["context", "whatsAppWebhookEntry", "aws_account_id", "message_timestamp", "messageId"]
    assert list(envelope) == members
    (message,) = json.loads(envelope["whatsAppWebhookEntry"])["changes"][0]["value"]["messages"]
    # As AWS's samples do: the number's ARN of the event is what the media is asked for with.
    media = gateway.client().get_whatsapp_message_media(
        mediaId=message["image"]["id"],
        originationPhoneNumberId=envelope["context"]["MetaPhoneNumberIds"][0]["arn"],
        metadataOnly=True,
    )
    assert media["mimeType"] == message["image"]["mime_type"]

    other, other_url = topic(aws, "other")
    role = "arn:aws:iam::000000000000:role/publish"
    put(gateway, account, other, roleArn=role)
    assert put_ones(gateway, account) == [{"eventDestinationArn": other, "roleArn": role}]
    simulator.send_webhook("text")
    assert arrived(aws, other_url)["TopicArn"] == other
    put(gateway, account)
    assert put_ones(gateway, account) == []


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sns:eu-west-1:000000000000:topic.fifo",
        "arn:aws:connect:eu-west-1:000000000000:instance/1",
        "arn:aws:lambda:eu-west-1:000000000000:function:x",
        "arn:aws:social-messaging:eu-west-1:000000000000:event-destination/nobody",
        "arn:aws:sns",
        "arn:aws-cn:sns:eu-west-1:000000000000:topic",
    ],
)
def test_destinations_that_cannot_be(gateway: Gateway, account: str, arn: str) -> None:
    with pytest.raises(ClientError, match="InvalidParametersException"):
        put(gateway, account, arn)
    assert put_ones(gateway, account) == []


@pytest.mark.parametrize("id_", ["waba-" + "0" * 32, "arn:aws:social-messaging:eu-west-1:1:waba/" + "0" * 32])
def test_an_account_that_is_not_linked_is_an_invalid_parameter(gateway: Gateway, id_: str) -> None:
    # The model has no ResourceNotFoundException here.
    with pytest.raises(ClientError, match="InvalidParametersException"):
        put(gateway, id_)


def test_the_policy_is_asked_for_the_account_and_for_the_destination(gateway: Gateway, account: str) -> None:
    arn = "arn:aws:sns:eu-west-1:000000000000:allowed"
    found = gateway.client().get_linked_whatsapp_business_account(id=account)["account"]["arn"]
    key = gateway.world.key_with_policy({"Effect": "Allow", "Action": PUT, "Resource": [found, arn]})
    put(gateway, account, arn, key=key)
    with pytest.raises(ClientError, match=f"AccessDenied.*{arn}-other"):
        put(gateway, account, f"{arn}-other", key=key)
    only = gateway.world.key_with_policy({"Effect": "Allow", "Action": PUT, "Resource": found})
    with pytest.raises(ClientError, match="AccessDenied"):
        put(gateway, account, arn, key=only)
    put(gateway, account, key=only)  # ends it: no destination is asked for
    assert put_ones(gateway, account) == []
