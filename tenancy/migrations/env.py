"""Runs the migrations on the connection, and in the transaction, of the database that is being opened."""

from alembic import context

from tenancy.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="tenancy_alembic_version",
    transactional_ddl=True,
)
context.run_migrations()
