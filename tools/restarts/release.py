"""A next release of whaul: a copy of this one that brings the database one revision further."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import whaul
from whaul.registry import schema
from whaul.stack.local import ITSELF

NEXT_REVISION = "9999"
_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None
additive = {additive}


def upgrade() -> None:
    op.add_column("accounts", sa.Column("note", sa.Text(), nullable=False, server_default=""))
    op.create_table("notes", sa.Column("id", sa.String(64), primary_key=True))
"""


def next_release(folder: Path, *, additive: bool) -> dict[str, str]:
    """Make one in `folder`; return the environment in which it runs in place of this one."""
    package = folder / "whaul"
    shutil.copytree(Path(whaul.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    migration = _MIGRATION.format(revision=NEXT_REVISION, before=schema.HEAD, additive=additive)
    (package / "registry/migrations/versions/r9999_notes.py").write_text(migration)
    module = package / "registry/schema.py"
    known, changed = f'"{schema.HEAD}")', f'"{schema.HEAD}", "{NEXT_REVISION}")'
    text = module.read_text(encoding="utf-8")
    if text.count(known) != 1:
        raise ValueError(f"{module} does not list the revisions as expected")
    module.write_text(text.replace(known, changed), encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def migrate(environ: Mapping[str, str]) -> None:
    """Run `whaul migrate` in this environment."""
    subprocess.run([*ITSELF, "migrate"], env=dict(environ), check=True, stdout=subprocess.DEVNULL)
