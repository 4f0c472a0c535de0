"""Many media ids to one place: `ids` reads them, `run` fetches them. What `whaul get` does, without its face."""
