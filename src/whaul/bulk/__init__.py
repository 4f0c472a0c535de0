"""Many media to one place: what `whaul get` does, without its face.

`media_ids` reads them, in the forms of `lists`; `run` fetches them, and waits as `throttle` and `bandwidth` say.
"""
