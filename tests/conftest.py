"""What all tests share: an environment in which nothing of this machine's steers whaul or AWS tools."""

import os
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide this user's settings, AWS profiles and keys from the tests and from all programs that they start."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("WHAUL_", "AWS_", "WHATSAPP_", "GRANIAN_"))]:
            environment.delenv(name)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


# A shell that starts this in the background has it ignore Ctrl-C, and so all programs that it starts. The programs
# under test are stopped with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
