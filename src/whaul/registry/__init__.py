"""Linked accounts, their phone numbers and tags, and access keys, in a database."""
