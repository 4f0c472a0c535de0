"""An item on its way into the database: what of it is made once, and what depends on how it is routed."""
