"""Run by Alembic: the steps over the connection, and in the transaction, that the caller opened."""

from alembic import context

from whaul.registry.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite alters a table by making a new one
)
with context.begin_transaction():
    context.run_migrations()
