"""The tables of events, and how statements reach them, on SQLite and PostgreSQL alike."""
