"""The public key of a phone number with boto3: put, read, and what is no such key."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harness.world import Gateway
from whaul.simulator import Simulator


def number_of(gateway: Gateway) -> str:
    return gateway.world.phone_number_id


def public_pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def other_keys() -> dict[str, str]:
    """Public keys that flows cannot use."""
    elliptic, longer = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 3072)
    return {"elliptic": public_pem(elliptic.public_key()), "longer": public_pem(longer.public_key())}


@pytest.mark.parametrize("form", ["list", "flat"])
def test_a_key_is_put_and_must_be_put_again_after_the_number_moved(
    gateway: Gateway, simulator: Simulator, private_key: RSAPrivateKey, form: str
) -> None:
    pem = public_pem(private_key.public_key())
    client, here = gateway.client(), {"originationPhoneNumberId": number_of(gateway)}
    simulator.configure(public_key_answer=form)
    simulator.state.public_keys.clear()
    try:
        assert "businessPublicKey" not in client.get_whatsapp_business_public_key(**here)
        client.put_whatsapp_business_public_key(**here, businessPublicKey=pem)
        found = client.get_whatsapp_business_public_key(**here)
        assert (found["businessPublicKey"], found["businessPublicKeySignatureStatus"]) == (pem, "VALID")
        simulator.state.public_keys[simulator.phone_numbers[0].id].status = "MISMATCH"
        assert client.get_whatsapp_business_public_key(**here)["businessPublicKeySignatureStatus"] == "MISMATCH"
    finally:
        simulator.configure(public_key_answer="list")


def test_a_private_key_is_refused_and_never_repeated(gateway: Gateway, private_key: RSAPrivateKey) -> None:
    private_pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="must stay with you") as caught:
        gateway.client().put_whatsapp_business_public_key(
            originationPhoneNumberId=number_of(gateway), businessPublicKey=private_pem
        )
    secret = private_pem.splitlines()[5]
    assert secret not in str(caught.value)
    assert secret not in gateway.log.read_text()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "Give businessPublicKey"),
        ({"kmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1"}, "businessPublicKey"),
        ({"businessPublicKey": "nonsense"}, "2048 bits"),
        ({"businessPublicKey": "elliptic"}, "RSA"),
        ({"businessPublicKey": "longer"}, "RSA"),
    ],
)
def test_what_is_no_public_key_for_flows_is_refused(
    gateway: Gateway, other_keys: dict[str, str], members: dict[str, str], said: str
) -> None:
    members = {name: other_keys.get(value, value) for name, value in members.items()}
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match=said):
        gateway.client().put_whatsapp_business_public_key(originationPhoneNumberId=number_of(gateway), **members)
