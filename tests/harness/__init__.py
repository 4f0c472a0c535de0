"""What the tests share: worlds, servers that answer as told, clients that see the wire."""
