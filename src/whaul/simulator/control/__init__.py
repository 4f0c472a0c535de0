"""The control endpoint of the simulator: what can be asked of it (`rows`), over HTTP (`endpoint`), in `openapi`."""
