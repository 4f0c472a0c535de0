"""Webhooks: proven, cut into items, and in the database before they are answered."""
