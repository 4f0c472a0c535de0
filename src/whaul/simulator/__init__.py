"""A simulated Graph API for WhatsApp media, with scripted faults, for anyone's tests. Needs `whaul[simulator]`.

    async with Simulator() as simulator:
        simulator.fault("100000000000001", kind="reset", at=1000, times=1)
        ...  # point the code under test at simulator.url, with simulator.token

`docs/simulator.md` has the endpoints, the faults and more examples.
"""

from whaul.simulator.faults import BadFaultError
from whaul.simulator.journal import Exchange
from whaul.simulator.media import Media
from whaul.simulator.server import DEFAULT_TOKEN, Simulator
from whaul.simulator.state import Message, PhoneNumber
from whaul.simulator.thread import simulator_in_thread

__all__ = [
    "DEFAULT_TOKEN",
    "BadFaultError",
    "Exchange",
    "Media",
    "Message",
    "PhoneNumber",
    "Simulator",
    "simulator_in_thread",
]
