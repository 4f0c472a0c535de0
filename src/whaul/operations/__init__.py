"""The service's operations: one module for each family that is built."""
