"""How the schema came to be, step by step; run by `whaul.registry.schema`."""
