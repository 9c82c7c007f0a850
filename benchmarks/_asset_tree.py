"""A folder of assets as an application without a bundler has it, the same on every machine."""

import random
from pathlib import Path

WORDS = (
    "cart",
    "price",
    "order",
    "total",
    "button",
    "header",
    "panel",
    "colour",
    "margin",
    "border",
    "value",
)


def make_tree(folder: Path, files: int) -> Path:
    """Of ``files`` files: scripts that import each other, style sheets with images, images, texts."""
    pick = random.Random(7)  # the same tree in every run

    def prose(size: int) -> str:
        return " ".join(f"{pick.choice(WORDS)}{pick.randrange(99)}" for _ in range(size // 7))

    for name in ("js", "css", "img", "text"):
        (folder / name).mkdir(parents=True)
    for number in range(files):
        kind, index = number % 10, number // 10
        if kind < 3:  # a tree of modules, each of which is imported by one
            name = index * 3 + kind
            below = [low for low in (name * 2 + 1, name * 2 + 2) if low < files // 10 * 3]
            imports = "".join(f"import {{ f{low} }} from './m{low}.js';\n" for low in below)
            body = "".join(
                f"const {pick.choice(WORDS)}{line} = 'x{line}' + {line} / 2;\n" for line in range(60)
            )
            (folder / f"js/m{name}.js").write_text(f"{imports}{body}export function f{name}() {{}}\n")
        elif kind < 5:
            images = [pick.randrange(files // 10) for _ in range(30)]
            rules = "".join(
                f".{WORDS[image % 11]} {{ background: url(../img/i{image}.png) }}\n" for image in images
            )
            (folder / f"css/s{index * 2 + kind}.css").write_text(rules)
        elif kind < 8:
            (folder / f"text/t{index * 3 + kind}.json").write_text(f'{{"text": "{prose(2_000)}"}}')
        else:
            (folder / f"img/i{index * 2 + kind - 8}.png").write_bytes(pick.randbytes(3_000))
    return folder
