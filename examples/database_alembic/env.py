"""Migrations on the primary, whichever server that is today.

    DATABASE_URL=postgresql+psycopg://app@primary/shop REPLICA_URLS=postgresql+psycopg://app@replica-1/shop \\
        alembic -c examples/database_alembic/alembic.ini upgrade head

An application imports its own `cluster` and `Base.metadata` here.
"""

import os

from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, Text

from scalekit.database import Cluster

metadata = MetaData()
Table("notes", metadata, Column("id", Integer, primary_key=True), Column("text", Text, nullable=False))

cluster = Cluster(
    os.environ.get("DATABASE_URL", "sqlite:///notes.db"), replicas=os.environ.get("REPLICA_URLS", "").split()
)

with cluster, cluster.connection() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
