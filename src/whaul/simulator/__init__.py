"""A simulated Graph API for WhatsApp media, with scripted faults, for anyone's tests. Needs `whaul[simulator]`.

    async with Simulator() as simulator:
        simulator.fault("100000000000001", kind="reset", at=1000, times=1)
        ...  # point the code under test at simulator.url, with simulator.token

`simulator.md`, in the folder that `whaul help docs` names, has the endpoints, the faults and more examples.
"""

from whaul.simulator.apps import DEFAULT_APP_SECRET, App
from whaul.simulator.faults import BadFaultError
from whaul.simulator.journal import Exchange
from whaul.simulator.media import Media
from whaul.simulator.model import Message, PhoneNumber
from whaul.simulator.server import DEFAULT_TOKEN, Simulator
from whaul.simulator.thread import simulator_in_thread
from whaul.simulator.webhooks.deliveries import Attempt, Delivery
from whaul.simulator.webhooks.post import VerificationError

__all__ = [
    "DEFAULT_APP_SECRET",
    "DEFAULT_TOKEN",
    "App",
    "Attempt",
    "BadFaultError",
    "Delivery",
    "Exchange",
    "Media",
    "Message",
    "PhoneNumber",
    "Simulator",
    "VerificationError",
    "simulator_in_thread",
]
