"""The ``scalekit`` command: one command a file, and the only place that prints.

Rules:

* A command is a module with ``SUMMARY``, ``add_arguments(parser)`` and ``run(arguments, terminal)``; what it
  prints goes through the terminal, what it does is in a piece, where Python can use it too.
* ``scalekit --help`` imports no piece and no third party: a command imports what it needs when it runs.
* Results go to standard output, progress and problems to standard error. With ``--json`` each line of
  standard output is one JSON object.
* The exit status is 0 when all was done, 1 when something failed, 2 when the command was not understood or
  the set-up is wrong, 3 when the application was not loaded in time, 130 after Ctrl-C, 143 after SIGTERM, and
  141 when nobody read what was printed.
* An option is written in full: what begins like ``--delete`` is not taken for it.
"""

from scalekit.cli._main import main

__all__ = ["main"]
