"""Checks everything that a call needs, and says for each thing whether it works and what to do if not.

`doctor` has the list of checks, and those of Meta and S3; `accounts` those of linked accounts; `machine` those of this
machine: settings, files, the port.
They write nothing but a small object to the named bucket, and remove it again. They show no secret.
"""

from whaul.doctor.accounts import Choice
from whaul.doctor.doctor import Doctor
from whaul.doctor.findings import Finding, Outcome

__all__ = ["Choice", "Doctor", "Finding", "Outcome"]
