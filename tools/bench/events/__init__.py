"""`./run bench --events`: webhooks in, events out, beside other ways to do it."""
