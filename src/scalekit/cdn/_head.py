"""Where a ``<base>`` counts.

Rules:

* In a document's head, but not in a ``<template>``, whose content is a document of its own, and not in a
  ``<noscript>``, which is text to a browser that runs scripts.
* Behind ``<body>`` it has no place but in a template, though browsers take it elsewhere too. To tell the two
  apart would cost all pages for the sake of few: it is in doubt, and what it might resolve stays as it is.
"""


class Head:
    """How far a page is in its head. Names of tags are lower-case; those of SVG and MathML are left out."""

    __slots__ = ("_noscript", "_templates", "over")

    def __init__(self) -> None:
        self.over = False
        self._noscript = False
        self._templates = 0

    @property
    def inert(self) -> bool:
        """Whether what stands here is no part of the document."""
        return self._noscript or self._templates > 0

    def start(self, name: bytes) -> None:
        """Take a start tag."""
        if name == b"body":
            self.over = not self.inert
        elif name == b"noscript":
            self._noscript = True
        elif name == b"template" and not self._noscript:
            self._templates += 1

    def end(self, name: bytes) -> None:
        """Take an end tag."""
        if name == b"noscript":
            self._noscript = False
        elif name == b"template" and not self._noscript and self._templates:
            self._templates -= 1
