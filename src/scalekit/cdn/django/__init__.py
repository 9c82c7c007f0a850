"""Assets for Django: a storage of static files, and a template tag.

Settings::

    INSTALLED_APPS = [..., "django.contrib.staticfiles", "scalekit.cdn.django"]
    STATIC_URL = "/static/"
    STATIC_ROOT = BASE_DIR / "static-files"
    STORAGES = {
        ...,
        "staticfiles": {
            "BACKEND": "scalekit.cdn.django.AssetStorage",
            "OPTIONS": {"built": BASE_DIR / "dist", "cdn": "https://d111111abcdef8.cloudfront.net"},
        },
    }

``{% static "logo.png" %}``, the admin and whatever else asks the storage get the hashed URL then, and so does
``{% load scalekit %}{% asset "logo.png" %}``. ``manage.py collectstatic`` builds what it has collected. With
``scalekit.cdn.django`` in ``INSTALLED_APPS`` ``manage.py check`` tells of a wrong option.
"""

from scalekit.cdn.django.storage import AssetStorage, asset_url, get_assets

__all__ = ["AssetStorage", "asset_url", "get_assets"]
