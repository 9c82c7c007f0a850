"""Django: the storage of static files and the template tag, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cdn.conftest import write_tree

pytest.importorskip("django")

PATIENCE = 100.0
CDN = "https://cdn.example.net"
FILES = {
    "logo.png": b"a logo",
    "a&b.png": b"an ampersand in its name",
    "css/site.css": b"body { background: url(../logo.png) }\n" * 40,
}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
HASH = "[0-9a-f]{12}"


class Shop:
    """The project in a folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        write_tree(home / "static", FILES)
        self.options: dict[str, Any] = {"built": str(home / "dist"), "cdn": CDN}
        self.environ: dict[str, str] = {}

    def run(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.cdn.django_shop", *arguments],
            env={
                **os.environ,
                "SHOP": str(self.home),
                "OPTIONS": json.dumps(self.options),
                **self.environ,
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    def collect(self) -> str:
        return self.run("collectstatic", "--noinput").stdout

    def serve(self, *paths: str) -> list[dict[str, Any]]:
        """What the paths are answered, by both shells alike."""
        replies: dict[str, list[dict[str, Any]]] = json.loads(self.run("serve", *paths).stdout)
        for one, other in zip(replies["wsgi"], replies["asgi"], strict=True):
            assert one["status"] == other["status"]
            assert TOKEN.sub("", one["body"]) == TOKEN.sub("", other["body"])
        return replies["wsgi"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_tags_and_the_admin_have_hashed_urls(shop: Shop) -> None:
    """``collectstatic`` builds, then ``{% static %}``, ``{% asset %}`` and the admin point at the CDN."""
    shop.environ["ADMIN"] = "1"
    shop.collect()
    home, admin, written = shop.serve("/", "/admin/login/", "/written")
    logo, again, other, sheet = home["body"].split()
    assert re.fullmatch(rf"{CDN}/static/logo\.{HASH}\.png", logo)
    assert again == logo
    assert re.fullmatch(rf"{CDN}/static/a%26b\.{HASH}\.png", other)
    assert re.fullmatch(rf"{CDN}/static/css/site\.{HASH}\.css", sheet)
    assert re.search(rf'href="{CDN}/static/admin/css/login\.{HASH}\.css"', admin["body"])
    assert '"/static/' not in admin["body"]
    assert written["body"] == f'<img src="{logo}">'

    # The files themselves come from the application, and as the build compressed them.
    found = shop.serve(*(url.removeprefix(CDN) for url in (logo, sheet)), "/static/logo.0123456789ab.png")
    assert [reply["status"] for reply in found] == [200, 200, 404]
    assert found[0]["body"] == "a logo"
    assert logo.rpartition("/")[2] in found[1]["body"]
    assert (shop.home / "dist" / f"{sheet.removeprefix(f'{CDN}/static/')}.gz").is_file()


def test_names_as_templates_write_them(shop: Shop) -> None:
    """A query and a fragment stay; a folder has its plain URL, as with Django's own storages."""
    shop.collect()
    hashed = rf"{CDN}/static/logo\.{HASH}\.png"
    urls = {
        "logo.png": hashed,
        "/logo.png": hashed,
        "./css/../logo.png": hashed,
        "logo.png%3Fv=1%23top": hashed + r"\?v=1#top",
        "css/": "/static/css/",
    }
    for reply, (name, url) in zip(shop.serve(*(f"/url/{name}" for name in urls)), urls.items(), strict=True):
        assert re.fullmatch(url, reply["body"]), (name, reply["body"])


@pytest.mark.parametrize("strict", [True, False])
def test_a_name_that_no_file_has(shop: Shop, strict: bool) -> None:
    """An error that says what is close; or the plain URL, if that was asked for."""
    shop.collect()
    shop.options["strict"] = strict
    if strict:
        code = "from django.templatetags.static import static; static('lgoo.png')"
        done = shop.run("shell", "-c", code, fails=True)
        assert "AssetNotFound" in done.stderr
        assert "logo.png" in done.stderr
    else:
        assert shop.serve("/url/lgoo.png")[0]["body"] == "/static/lgoo.png"


def test_while_debug_is_on(shop: Shop) -> None:
    """URLs are plain and nothing need be collected, as ``runserver`` wants it."""
    shop.environ["DEBUG"] = "1"
    (home,) = shop.serve("/")
    assert home["body"].split() == [
        "/static/logo.png",
        "/static/logo.png",
        "/static/a%26b.png",
        "/static/css/site.css",
    ]


def test_without_a_build(shop: Shop) -> None:
    """What was collected is hashed when a server starts; without a CDN the URLs are paths."""
    shop.options = {}
    assert "post-processed" not in shop.collect()
    (home,) = shop.serve("/")
    logo = home["body"].split()[0]
    assert re.fullmatch(rf"/static/logo\.{HASH}\.png", logo)
    (file,) = shop.serve(logo)
    assert (file["status"], file["body"]) == (200, "a logo")


def test_collecting_again(shop: Shop) -> None:
    """Only what has changed is written; what the last release had stays for servers that still run it."""
    first = shop.collect()
    before = {path.name for path in (shop.home / "dist").glob("logo.*.png")}
    assert re.search(r"\d+ post-processed", first)
    assert "post-processed" not in shop.collect()
    logo = shop.home / "static" / "logo.png"
    logo.write_bytes(b"another logo")
    # Django compares whole seconds, and takes what was written within the one of the copy for unchanged.
    os.utime(logo, (logo.stat().st_mtime + 2,) * 2)
    assert ", 2 post-processed" in shop.collect()  # the logo, and the style sheet that shows it
    after = {path.name for path in (shop.home / "dist").glob("logo.*.png")}
    assert len(after) == 2
    assert before < after


@pytest.mark.parametrize("built", [True, False], ids=["built", "collected"])
def test_files_that_are_collected_while_a_server_runs(shop: Shop, built: bool) -> None:
    """With ``reload`` the tag and the files are those of the last ``collectstatic``, without a restart."""
    shop.options = {"reload": True} | ({"built": str(shop.home / "dist")} if built else {})
    shop.collect()
    code = """
        import os, time
        from django.core.management import call_command
        from django.template import engines
        from scalekit.cdn import wsgi
        from scalekit.cdn.django import get_assets
        from tests.cdn.drivers import call_wsgi
        page = engines["django"].from_string('{% load scalekit %}{% asset "logo.png" %}')
        app, before = wsgi.AssetFiles(get_assets()), page.render()
        logo = os.path.join(os.environ["SHOP"], "static", "logo.png")
        with open(logo, "wb") as file:
            file.write(b"another logo")
        os.utime(logo, (os.stat(logo).st_mtime + 2,) * 2)
        import subprocess, sys
        manage = [sys.executable, "-m", "tests.cdn.django_shop"]
        subprocess.run([*manage, "collectstatic", "--noinput"], check=True)
        deadline = time.monotonic() + 60
        while page.render() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        for url in (page.render(), before, "/static/logo.png"):
            reply = call_wsgi(app, url)
            print("REPLY", url != before, reply.status, reply.body.decode(), reply.headers["cache-control"])
    """
    done = shop.run("shell", "-c", "if True:" + code)
    first, former, plain = [line for line in done.stdout.splitlines() if line.startswith("REPLY")]
    assert first == "REPLY True 200 another logo no-cache"
    # What a build has kept is what it was; else a page that is in the browser has the file as it is now.
    assert former == ("REPLY False 200 a logo no-cache" if built else "REPLY False 200 another logo no-store")
    assert built or plain == first


def test_a_rehearsal_builds_nothing(shop: Shop) -> None:
    """``collectstatic --dry-run`` leaves everything as it is."""
    shop.run("collectstatic", "--noinput", "--dry-run")
    assert not (shop.home / "dist").exists()


@pytest.mark.parametrize(
    ("environ", "options", "command", "message"),
    [
        ({}, {}, ["serve", "/"], "did 'manage.py collectstatic' run?"),
        ({"STATIC_URL": "https://cdn.example.net/static/"}, {}, ["check"], "set the path alone"),
        ({}, {"cdn": "cdn.example.net"}, ["check"], "is not an address such as"),
        (
            {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
            None,
            ["serve", "/"],
            "AssetStorage",
        ),
    ],
)
def test_mistakes(
    shop: Shop, environ: dict[str, str], options: dict[str, Any] | None, command: list[str], message: str
) -> None:
    """They show when the project is checked or started, and the message says what to change."""
    shop.environ |= environ
    shop.options = {} if options is None else shop.options | options
    done = shop.run(*command, fails=True)
    assert message in done.stderr


def test_under_a_storage_of_djangos_own(shop: Shop) -> None:
    """As a project's tests have it: the tag has plain URLs, and a check reminds of it without failing."""
    shop.environ["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    shop.options = {}
    assert "scalekit.W011" in shop.run("check").stderr
    code = "from django.template import engines as e; "
    code += "print(e['django'].from_string('{% load scalekit %}{% asset \"logo.png\" %}').render())"
    assert "/static/logo.png" in shop.run("shell", "-c", code).stdout
