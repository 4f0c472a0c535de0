"""Who calls, and what they may do: Signature Version 4, access keys, policies."""
