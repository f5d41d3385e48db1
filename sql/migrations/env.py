"""Alembic's entry point: migrate on the connection of ``batch-scoring db upgrade``, or print SQL."""

from alembic import context

from batch_scoring.store.schema.tables import metadata

connection = context.config.attributes.get("connection")

if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=metadata,
        literal_binds=True,
        output_buffer=context.config.output_buffer,
    )
else:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        version_table_schema=context.config.attributes["schema"],
    )

with context.begin_transaction():
    context.run_migrations()
