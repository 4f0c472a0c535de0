"""The documentation."""

from typing import Final

from starlette.responses import Response

from whaul.console import manual
from whaul.console.page import Page
from whaul.console.visit import PageError, Visit


async def show(visit: Visit) -> Response:
    """Show a page of it, or a picture of one."""
    name = visit.request.path_params["name"]
    picture = manual.picture(name)
    if picture is not None:
        return Response(picture, media_type="image/png")
    found = manual.page(name)
    if found is None:
        raise PageError("There is no such page of the documentation.")
    title, content = found
    return await visit.page("manual.html", title=title, content=content)


PAGES: Final = (Page(path="/docs/{name:path}", action=None, answer=show),)
