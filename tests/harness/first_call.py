"""The first call of a new installation, made inside its container: the simulator's account, a key, a message."""

from typing import Protocol

ACCOUNT = "400000000000001"
TOKEN = "simulated-token"
SIMULATOR = ("simulate", "--port", "9090")
GRAPH_URL = "http://127.0.0.1:9090"
PYTHON = "/opt/whaul/bin/python"
SEND = """
import json, sys, botocore.session
key = json.load(sys.stdin)
client = botocore.session.get_session().create_client(
    "socialmessaging", region_name="us-east-1", endpoint_url="http://127.0.0.1:8080",
    aws_access_key_id=key["accessKeyId"], aws_secret_access_key=key["secretAccessKey"],
)
message = {"messaging_product": "whatsapp", "to": "15550109999", "type": "text", "text": {"body": "Hello"}}
[account] = client.list_linked_whatsapp_business_accounts()["linkedAccounts"]
number = client.get_linked_whatsapp_business_account(id=account["id"])["account"]["phoneNumbers"][0]
sent = client.send_whatsapp_message(
    originationPhoneNumberId=number["phoneNumberId"], message=json.dumps(message), metaApiVersion="v25.0"
)
print(sent["messageId"])
"""


class Run(Protocol):
    """Runs a command in the container, with a text as its standard input, and returns what it printed."""

    def __call__(self, *command: str, text: str = "") -> str: ...


def first_call(run: Run, whaul: str = "whaul") -> str:
    """Link, make a key, send a message by a client of AWS's; return the message's id.

    The simulator must run there. `whaul` is the program under which commands are found.
    """
    run(whaul, "link", "--waba-id", ACCOUNT, "--token-file", "-", text=TOKEN)
    key = run(whaul, "keys", "create", "--name", "first", "--allow-all", "--json")
    return run(PYTHON, "-c", SEND, text=key).strip()
