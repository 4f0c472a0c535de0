"""`/{phone-number-id}/whatsapp_business_encryption`: the public key of a number.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/whatsapp-business-encryption
"""

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from whaul.simulator.calls import Call
from whaul.simulator.model import PublicKey
from whaul.simulator.responses import invalid


async def put_key(call: Call) -> Any:
    """Set the key, in JSON or as a form."""
    pem = (await call.parameters()).get("business_public_key")
    try:
        key = load_pem_public_key(pem.encode()) if isinstance(pem, str) else None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size != 2048:
        raise invalid("Param business_public_key must be a 2048 bit RSA public key in PEM.")
    call.state.public_keys[call.object.id] = PublicKey(str(pem))
    return {"success": True}


async def get_key(call: Call) -> Any:
    """Show the key; as documented in a list, or flat, as it is seen: the setting `public_key_answer`."""
    key = call.state.public_keys.get(call.object.id)
    shown = {} if key is None else {"business_public_key": key.pem}
    shown |= {} if key is None else {"business_public_key_signature_status": key.status}
    if call.state.settings.public_key_answer == "flat":
        return shown
    return {"data": [shown] if shown else []}
