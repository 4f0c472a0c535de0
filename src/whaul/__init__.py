"""whaul: WhatsApp messages and their files, as AWS End User Messaging Social brings them, self-hosted."""

__version__ = "0.1.0"
