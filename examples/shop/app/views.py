"""Browsing, and who the visitor is."""

from fastapi import APIRouter, Form, Request, Response
from starlette.exceptions import HTTPException

from examples.shop.app import basket, queries
from examples.shop.app.catalogue import CATEGORIES, CROWD, USERS
from examples.shop.app.shop import go, note, shop_of, user_of

router = APIRouter()


@router.get("/")
async def home(request: Request, category: str = "") -> Response:
    shop = shop_of(request)
    if category not in CATEGORIES:
        category = ""

    async def look(session: queries.AsyncSession) -> tuple[list[queries.Plant], list[queries.Loved]]:
        return await shop.catalogue.plants(session, category), await shop.catalogue.loved(session)

    products, loved = await shop.unit(request, look)
    return shop.page(request, "home.html", products=products, loved=loved, category=category)


@router.get("/plants/{slug}")
async def product(request: Request, slug: str) -> Response:
    shop = shop_of(request)

    async def look(session: queries.AsyncSession) -> tuple[queries.Plant, int, list[dict[str, str]]]:
        plant = await shop.catalogue.plant(session, slug)
        if plant is None:
            raise HTTPException(404)
        shown = [
            {"url": shop.storage.public_url(photo.key), "caption": photo.caption, "user": photo.user}
            for photo in await queries.photos(session, plant.id)
        ]
        return plant, await queries.stock(session, plant.id), shown

    plant, stock, photos = await shop.unit(request, look)
    in_cart = basket.contents(request.session).get(slug, 0)
    return shop.page(request, "product.html", product=plant, stock=stock, photos=photos, in_cart=in_cart)


@router.get("/login")
async def login_page(request: Request, next: str = "/") -> Response:
    return go(_inside(next)) if user_of(request) else shop_of(request).page(request, "login.html", next=next)


@router.post("/login")
async def login(request: Request, user: str = Form(), next: str = Form("/")) -> Response:
    known = USERS | CROWD
    if user not in known:
        raise HTTPException(404)
    request.session.login(user)
    note(request, f"Good to see you, {known[user][0]}.")
    return go(_inside(next))


@router.post("/logout")
async def logout(request: Request) -> Response:
    request.session.logout()
    return go("/")


def _inside(address: str) -> str:
    """A path of this shop; whatever might lead elsewhere becomes the front page."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"
