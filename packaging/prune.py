"""Remove from an installed environment what whaul never loads: data of AWS services that it does not call."""

import shutil
import sys
from pathlib import Path
from typing import Final

KEPT: Final = {"s3", "sts", "sso", "sso-oidc", "signin", "sns", "sqs", "events", "socialmessaging"}
"""Services of which botocore's data is kept."""


def prune(site_packages: Path) -> None:
    """Remove the folders of all other services; files that are about no service stay."""
    for folder in (site_packages / "botocore" / "data").iterdir():
        if folder.is_dir() and folder.name not in KEPT:
            shutil.rmtree(folder)


if __name__ == "__main__":
    prune(Path(next(path for path in sys.path if path.endswith("site-packages"))))
