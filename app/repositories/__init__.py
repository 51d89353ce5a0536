"""The only SQL: SQLAlchemy Core statements on a transaction that the caller opened."""
