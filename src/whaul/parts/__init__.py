"""Builds the parts that the gateway and the command line share, from the settings; a command loads what it needs."""
