"""Manifests as Vite 8, webpack 5 with either plugin, and Django 5.2 wrote them; values shortened."""

VITE = """{
  "../shared/s.js": {
    "file": "assets/s-Cbqx7KMT.js",
    "name": "s",
    "src": "../shared/s.js",
    "isEntry": true
  },
  "src/lazy.js": {
    "file": "assets/lazy-TW8v3MbB.js",
    "name": "lazy",
    "src": "src/lazy.js",
    "isDynamicEntry": true,
    "imports": ["../shared/s.js", "src/main.js"],
    "css": ["assets/lazy-B5e_rcF1.css"]
  },
  "src/logo.png": {
    "file": "assets/logo-xWHicxd2.png",
    "src": "src/logo.png"
  },
  "src/main.js": {
    "file": "assets/main-Dtynq_yW.js",
    "name": "main",
    "src": "src/main.js",
    "isEntry": true,
    "imports": ["../shared/s.js"],
    "dynamicImports": ["src/lazy.js"],
    "css": ["assets/main-BQ7h75YV.css"],
    "assets": ["assets/logo-xWHicxd2.png"]
  }
}"""

WEBPACK_MANIFEST_PLUGIN = """{
  "main.js": "/static/main.617fb145be0fa5c9fc53.js",
  "153.js": "/static/153.926da6e986c4e0608c18.js",
  "img/logo.png": "/static/img/b1e113a30498c5d20c87.png",
  "favicon.ico": "/static/favicon.ico"
}"""

WEBPACK_ASSETS_MANIFEST = """{
  "153.926da6e986c4e0608c18.js": {
    "src": "153.926da6e986c4e0608c18.js",
    "integrity": "sha256-9QBRLckdhiKFptDNDqO3oGR1MrpJEnTUFMEuLgz5BNY= sha384-aQZnD1Tz1solUIov"
  },
  "entrypoints": {"main": {"assets": {"js": ["main.94d11bd0eb4673ffa5ec.js"]}}},
  "img/logo.png": {"src": "img/b1e113a30498c5d20c87.png", "integrity": ""},
  "main.js": {
    "src": "main.94d11bd0eb4673ffa5ec.js",
    "integrity": "sha256-zG5OheNo8xS5epmjRBV3S/oGj0CcDlud/ptRfBIDY7E= sha384-Lp/2BdgwFUeN0oJj"
  }
}"""

# As Create React App calls the plugin.
WEBPACK_FILES = """{
  "files": {"main.js": "/static/js/main.3f2a9c01.js", "index.html": "/static/index.html"},
  "entrypoints": ["static/js/main.3f2a9c01.js"]
}"""

DJANGO = (
    '{"paths": {"css/a.css": "css/a.1ff1cb9857c1.css", "logo.png": "logo.401b30e3b8b5.png"}, '
    '"version": "1.1", "hash": "59e50008781e"}'
)
