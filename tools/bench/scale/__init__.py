"""How the cost of calls and events grows: with processes on one PostgreSQL, and with what the database holds."""
