"""What the shop sells."""

from dataclasses import dataclass

CATEGORIES = {
    "leafy": "Leafy",
    "succulents": "Succulents",
    "trailing": "Trailing",
    "care": "Pots & tools",
}

USERS = {
    "fern": ("Fern", "Collects ferns, naturally"),
    "basil": ("Basil", "Kitchen ledge, full sun"),
    "olive": ("Olive", "North-facing and undaunted"),
    "reed": ("Reed", "Killed a cactus once"),
}

CROWD = {f"visitor-{number}": (f"Visitor {number}", "Comes with the crowd") for number in range(1, 101)}
"""Who the crowd logs in as. Not shown to choose from: a visitor's own orders stay the visitor's own."""


@dataclass(frozen=True)
class Item:
    slug: str
    name: str
    latin: str
    category: str
    price: int
    stock: int
    tint: str
    light: str
    water: str
    size: str
    blurb: str


def _item(
    slug: str, name: str, latin: str, category: str, price: int, stock: int, tint: str, *more: str
) -> Item:
    light, water, size, blurb = more
    return Item(slug, name, latin, category, price, stock, tint, light, water, size, blurb)


ITEMS = [
    _item(
        "monstera", "Monstera", "Monstera deliciosa", "leafy", 3900, 5000, "mint",
        "Bright, no direct sun", "When the top inch is dry", "65 cm, 17 cm pot",
        "The one everybody asks about. Every new leaf unrolls larger than the last, and past the third "
        "year they arrive with windows already cut. Give it a pole and it will climb; deny it one and it "
        "will lean on you.",
    ),
    _item(
        "pilea", "Pilea", "Pilea peperomioides", "leafy", 1800, 5000, "sky",
        "Bright, turn it weekly", "Every 7 to 10 days", "28 cm, 12 cm pot",
        "Round leaves on stems like a burst of fireworks. It makes pups around its feet, which is how it "
        "has travelled the world: one kitchen table at a time.",
    ),
    _item(
        "snake-plant", "Snake plant", "Dracaena trifasciata", "succulents", 2600, 5000, "sand",
        "Any, even a dim hall", "Every 3 weeks, less in winter", "60 cm, 18 cm pot",
        "Stands straight, asks for nothing and forgives everything. If you travel a lot, or forget a lot, "
        "start here.",
    ),
    _item(
        "string-of-pearls", "String of pearls", "Curio rowleyanus", "trailing", 2200, 5000, "blush",
        "Bright morning sun", "Every 2 weeks, soak and drain", "40 cm trail, 13 cm bowl",
        "A curtain of green beads, each a little water tank with a window in it. Hang it where the morning "
        "sun reaches the top of the pot.",
    ),
    _item(
        "rubber-fig", "Rubber fig", "Ficus elastica", "leafy", 3200, 5000, "sand",
        "Bright, some sun", "When the top two inches are dry", "75 cm, 17 cm pot",
        "Dark, glossy and upright. New leaves come wrapped in a red sheath that drops like a glove. Wipe "
        "the old ones now and then, and it will outgrow your bookcase.",
    ),
    _item(
        "aloe", "Aloe", "Aloe vera", "succulents", 1500, 5000, "mint",
        "Full sun", "Every 3 weeks", "32 cm, 13 cm pot",
        "A rosette of cool, toothed swords. Lives on a sunny kitchen ledge, and lends a leaf when you burn "
        "a finger on the pan below it.",
    ),
    _item(
        "ivy", "Ivy", "Hedera helix", "trailing", 1400, 5000, "sky",
        "Shade to half-shade", "Keep it slightly moist", "45 cm trail, 12 cm pot",
        "Wanders along the ledge and over the edge in a season. Cut a strand, put it in water, and you "
        "have two.",
    ),
    _item(
        "cactus", "Column cactus", "Cereus jamacaru", "succulents", 1900, 5000, "blush",
        "Full sun", "Monthly, none in winter", "34 cm, 13 cm pot",
        "A small desert with good posture. In its fifth or sixth summer it flowers, for one night, and you "
        "will cancel dinner to watch.",
    ),
    _item(
        "calathea", "Prayer plant", "Goeppertia ornata", "leafy", 2900, 5000, "sand",
        "Half-shade", "Soft water, keep it moist", "42 cm, 16 cm bowl",
        "Lies flat by day and folds its painted leaves at dusk, with a rustle that you can hear. Likes the "
        "bathroom better than the radiator.",
    ),
    _item(
        "boston-fern", "Boston fern", "Nephrolepis exaltata", "trailing", 2400, 5000, "mint",
        "Half-shade", "Often, and mist it", "48 cm, 15 cm pot",
        "A fountain of soft green that has been in fashion since 1894. Thirsty and grateful.",
    ),
    _item(
        "echeveria", "Echeveria", "Echeveria elegans", "succulents", 1200, 5000, "sky",
        "Full sun", "Every 2 weeks, never on the leaves", "14 cm, 11 cm bowl",
        "A rose made of stone, dusted with silver and tipped with pink. Lay a fallen leaf on dry soil and "
        "wait: it becomes another.",
    ),
    _item(
        "pothos", "Golden pothos", "Epipremnum aureum", "trailing", 1600, 5000, "blush",
        "Any but full sun", "When it begins to hang", "50 cm trail, 14 cm pot",
        "Tells you when it is thirsty and recovers within the hour. The plant that teaches you to keep "
        "plants.",
    ),
    _item(
        "parlour-palm", "Parlour palm", "Chamaedorea elegans", "leafy", 2700, 5000, "sky",
        "Half-shade", "Weekly in summer", "60 cm, 15 cm pot",
        "Has furnished parlours since there were parlours. Slow, tidy and unbothered by your north window.",
    ),
    _item(
        "watering-can", "Watering can", "1.6 litres, steel", "care", 3400, 5000, "sand",
        "", "A thin, patient stream", "28 cm tall",
        "A long spout that reaches the back row without moving the front one. Powder-coated steel, and a "
        "brass band because it looks well.",
    ),
    _item(
        "plant-mister", "Amber mister", "300 ml, glass", "care", 1700, 5000, "mint",
        "", "A fine mist", "19 cm tall",
        "For ferns, prayer plants, and hot afternoons. The glass is amber because the water keeps fresh in "
        "it.",
    ),
    _item(
        "pot-trio", "Pot trio", "Glazed stoneware", "care", 4200, 5000, "blush",
        "", "Drains well", "11, 13 and 18 cm",
        "Sage, terracotta and mustard, thrown by hand and never quite the same. Each with a hole, because "
        "roots must breathe.",
    ),
]  # fmt: skip
