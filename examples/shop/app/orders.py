"""Basket, check-out and orders. Every form carries a token, so that it may be sent twice."""

from dataclasses import dataclass

from fastapi import APIRouter, Form, Request, Response
from starlette.exceptions import HTTPException

from examples.shop.app import basket, queries
from examples.shop.app.checkout import SoldOut, place_order
from examples.shop.app.shop import go, note, shop_of, to_login, user_of
from scalekit.database import STRONG

router = APIRouter()


@dataclass
class Line:
    product: queries.Plant
    quantity: int

    @property
    def total(self) -> int:
        return self.product.price * self.quantity


async def _lines(request: Request) -> list[Line]:
    shop, cart = shop_of(request), basket.contents(request.session)
    if not cart:
        return []
    plants = await shop.unit(request, lambda session: shop.catalogue.plants(session, ""))
    return [Line(plant, cart[plant.slug]) for plant in plants if plant.slug in cart]


@router.get("/cart")
async def cart(request: Request) -> Response:
    lines = await _lines(request)
    return shop_of(request).page(request, "cart.html", lines=lines, total=sum(line.total for line in lines))


@router.post("/cart/{slug}")
async def add(request: Request, slug: str, once: str, quantity: int = Form(1, ge=1, le=99)) -> Response:
    shop = shop_of(request)
    plant = await shop.unit(request, lambda session: shop.catalogue.plant(session, slug))
    if plant is None:
        raise HTTPException(404)
    if basket.is_first(request.session, once):
        basket.put(request.session, slug, basket.contents(request.session).get(slug, 0) + quantity)
        note(request, f"{plant.name} is in your basket.", href="/cart", action="See the basket")
    return go(f"/plants/{slug}")


@router.post("/cart/{slug}/quantity")
async def change(request: Request, slug: str, quantity: int = Form(ge=0, le=99)) -> Response:
    if slug in basket.contents(request.session):
        basket.put(request.session, slug, quantity)
    return go("/cart")


@router.get("/checkout")
async def checkout_page(request: Request) -> Response:
    if user_of(request) is None:
        return to_login(request)
    lines = await _lines(request)
    if not lines:
        return go("/cart")
    return shop_of(request).page(
        request, "checkout.html", lines=lines, total=sum(line.total for line in lines)
    )


@router.post("/checkout")
async def checkout(
    request: Request,
    once: str,
    name: str = Form(max_length=60),
    street: str = Form(max_length=80),
    postcode: str = Form(max_length=12),
    town: str = Form(max_length=40),
) -> Response:
    user, cart = user_of(request), basket.contents(request.session)
    if user is None:
        return to_login(request)
    address = f"{name}, {street}, {postcode} {town}"

    async def order(session: queries.AsyncSession) -> int:
        return await place_order(session, once=once, user=user.key, address=address, cart=cart)

    try:
        number = await shop_of(request).unit(request, order, consistency=STRONG, writes=True)
    except SoldOut as sold:
        left = f"only {sold.left} left" if sold.left else "none left"
        note(request, f"{sold.name}: {left}. Nothing was ordered.", kind="bad")
        return go("/cart")
    basket.empty(request.session)
    return go(f"/orders/{number}")


@router.get("/orders")
async def orders(request: Request) -> Response:
    shop, user = shop_of(request), user_of(request)
    if user is None:
        return to_login(request)
    found = await shop.unit(request, lambda session: queries.orders_of(session, user.key))
    return shop.page(request, "orders.html", orders=found)


@router.get("/orders/{number}")
async def order(request: Request, number: int) -> Response:
    shop, user = shop_of(request), user_of(request)
    if user is None:
        return to_login(request)
    found = await shop.unit(request, lambda session: queries.order_of(session, user.key, number))
    if found is None:
        raise HTTPException(404)
    return shop.page(request, "order.html", order=found)
