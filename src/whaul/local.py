"""A whole whaul on this machine, for tests: `with stack() as running`. Needs `whaul[demo]`.

`docs/testing.md` has fixtures. What is listed in `__all__`, and the public members of these, is kept from one
release to the next; what changes is in the changelog.
"""

from whaul.stack.customer import Received, StoredFile
from whaul.stack.local import Stack, stack
from whaul.stack.processes import StackError
from whaul.stack.seaweedfs import S3Endpoint

__all__ = ["Received", "S3Endpoint", "Stack", "StackError", "StoredFile", "stack"]
