"""A visitor's photo goes from the browser to the shared storage as it arrives, through any server."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import update
from starlette.exceptions import HTTPException

from examples.shop.app.models import Photo
from examples.shop.app.queries import AsyncSession
from examples.shop.app.shop import go, note, shop_of, user_of
from scalekit.errors import UploadRejected
from scalekit.storage import MiB
from scalekit.storage.forms import stream_form

router = APIRouter()

_ACCEPT = ["image/png", "image/jpeg", "image/webp", "image/gif"]


class _ThereAlready(Exception):
    """The form had arrived before; raised inside the block, so that the copy is removed."""


@router.post("/plants/{slug}/photos")
async def share(request: Request, slug: str) -> Response:
    shop, user = shop_of(request), user_of(request)
    if user is None:
        raise HTTPException(401)
    plant = await shop.unit(request, lambda session: shop.catalogue.plant(session, slug))
    if plant is None:
        raise HTTPException(404)
    page = f"/plants/{slug}#photos"
    try:
        async with stream_form(
            request, shop.storage, max_file_size=8 * MiB, accept=_ACCEPT, max_files=1, prefix="photos/"
        ) as form:
            if "photo" not in form.files:
                raise UploadRejected("Please choose a photo first.")
            once = form.fields.get("once") or form.files["photo"].key
            photo = {
                "product_id": plant.id,
                "user": user.name,
                "key": form.files["photo"].key,
                "caption": form.fields.get("caption", "").strip()[:80],
                "once": once[:120],
            }
            if not await shop.unit(request, lambda session: _keep(session, photo), writes=True):
                raise _ThereAlready
    except _ThereAlready:
        pass
    except UploadRejected as error:
        return _refuse(request, page, error)
    note(request, "Thank you, your photo is on the wall.", place="photos")
    return JSONResponse({"page": page}, status_code=201) if _wants_json(request) else go(page)


async def _keep(session: AsyncSession, photo: dict[str, object]) -> bool:
    """Whether it is new. A write in both cases, so that the visitor's next page includes it."""
    again = update(Photo).where(Photo.once == photo["once"]).values(once=photo["once"]).returning(Photo.key)
    if (key := await session.scalar(again)) is not None:
        return key == photo["key"]  # ours, when the COMMIT had worked and only its answer was lost
    session.add(Photo(**photo))
    await session.flush()
    return True


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _refuse(request: Request, page: str, error: UploadRejected) -> Response:
    problems = {413: "That is over 8 MB. A smaller one, please.", 415: "A PNG, JPEG, WebP or GIF, please."}
    problem = problems.get(error.status, "Please choose a photo first.")
    if _wants_json(request):
        return JSONResponse({"problem": problem}, status_code=error.status)
    note(request, problem, kind="bad", place="photos")
    return go(page)
