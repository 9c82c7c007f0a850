"""How the pages of one application are rewritten: the options of its middleware, and each request's CDN.

Rules:

* A function that chooses the CDN is asked once for a page, and only for what may be one. What goes wrong in
  it costs the page its CDN, not the page: that is counted, and logged the first time.
* While a probe says that the chosen CDN is down, pages do without it.
* Without a CDN a page's assets come from the application, which takes files: assets of a manifest alone stay
  with the CDN that they have.
"""

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

from scalekit._http import is_field_name
from scalekit._options import check_function, check_items, check_kind
from scalekit.cdn._asset import AssetFile
from scalekit.cdn._csp import Extension
from scalekit.cdn.assets import Assets, check_assets
from scalekit.cdn.html import HtmlRewriter
from scalekit.cdn.probe import CdnProbe
from scalekit.errors import ConfigurationError
from scalekit.types import Headers

_log = logging.getLogger("scalekit.cdn")


class Pages:
    """The options of a middleware, checked; see there."""

    def __init__(
        self,
        assets: Assets,
        *,
        cdn: Callable[[Any], str | None] | None = None,
        vary: Iterable[str] = (),
        probe: CdnProbe | Iterable[CdnProbe] = (),
        extend_csp: bool = False,
        integrity: bool = False,
        crossorigin: bool = False,
        modules: bool = False,
    ) -> None:
        self.assets = check_assets(assets)
        self._cdn = _check_choice(cdn)
        self.vary = [_header_name(name) for name in check_items(vary, option="vary=")]
        self._probes = _check_probes(probe)
        # Or pages could not do without one that is down, while more CDNs are in use than are kept ready.
        assets.cdns.keep(probe.cdn for probe in self._probes)
        self._extend_csp, self._integrity, self._crossorigin = extend_csp, integrity, crossorigin
        self._modules = modules
        #: Part of a page's entity tag: what else its bytes and headers depend on.
        self.mark = b"c" * crossorigin + b"i" * integrity + b"m" * modules + b"p" * extend_csp
        here = all(isinstance(asset, AssetFile) for asset in assets)
        self._origin = assets.at(None) if here and (cdn is not None or self._probes) else assets
        self._logged = False

    def view(self, request: Any) -> Assets:
        """The assets as they are now, at the CDN for this request: an ASGI scope or a WSGI environ."""
        view = self.assets if self._cdn is None else self._choose(self._cdn, request)
        for probe in self._probes:
            if probe.cdn == view.cdn and not probe.up:
                self.assets.counts.add("cdn-down")
                return self._origin.now()
        return view.now()

    def _choose(self, cdn: Callable[[Any], str | None], request: Any) -> Assets:
        try:
            return self.assets.at(cdn(request))
        # It is the user's function, and no fault in it may cost a page.
        except Exception:  # noqa: BLE001
            self.assets.counts.add("cdn-errors")
            if not self._logged:
                self._logged = True
                _log.exception("the function cdn= failed; pages like this one are pointed at no CDN")
            return self._origin

    def rewriter(self, assets: Assets, *, path: str, host: str | None, charset: str) -> HtmlRewriter:
        """For a page, or for a tag of one."""
        return HtmlRewriter(
            assets,
            path=path,
            host=host,
            charset=charset,
            integrity=self._integrity,
            crossorigin=self._crossorigin,
            modules=self._modules,
        )

    def extend_policies(self, assets: Assets, host: str | None, headers: Headers) -> None:
        """Let into the content security policies from where the page has its assets, if so asked."""
        if self._extend_csp and len(assets):
            others = (cdn for cdn in assets.cdns.addresses if cdn != assets.cdn)
            Extension(
                cdn=None if assets.cdn is None else assets.cdn.encode(),
                path=assets.prefix.encode(),
                host=None if host is None else host.lower().encode("latin-1"),
                cdns=tuple(cdn.encode() for cdn in others),
            ).apply(headers)


def _check_choice(cdn: Callable[[Any], str | None] | None) -> Callable[[Any], str | None] | None:
    if cdn is not None:
        if isinstance(cdn, str):
            raise ConfigurationError(
                "cdn= must be a function that takes the request and returns an address, not str; one address "
                "for all requests goes into Assets(..., cdn=)"
            )
        check_function(cdn, option="cdn=", wanted="a function that takes the request and returns an address")
        if inspect.iscoroutinefunction(cdn):
            raise ConfigurationError("cdn= must be a plain function, not an async one: it may not wait")
    return cdn


def _header_name(name: str) -> bytes:
    if not is_field_name(name):
        raise ConfigurationError(f"vary= has {name!r:.60}, which is no name of a header")
    return name.lower().encode("ascii")


def _check_probes(probe: CdnProbe | Iterable[CdnProbe]) -> tuple[CdnProbe, ...]:
    probes = (probe,) if isinstance(probe, CdnProbe) else check_items(probe, option="probe=")
    for one in probes:
        check_kind(one, CdnProbe, option="probe=", wanted="a CdnProbe, or a list of them")
    return probes
