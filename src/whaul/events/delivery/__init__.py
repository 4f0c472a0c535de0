"""Events to their destinations: each until it is there, or a dead letter."""
