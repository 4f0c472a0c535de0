"""The HTTP side of the server: ASGI, the life of a request, limits."""
