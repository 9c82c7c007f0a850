"""What loses data or falls over on the day: found in an application before it does.

``scalekit doctor module:app`` prints it, and for Python there is::

    from scalekit.ops.doctor import Around, examine, load

    for finding in examine(load("shop:app"), around=Around(servers=8)).findings:
        print(finding.severity, finding.what, finding.cure)

Each subject has a file, with pure functions from what was looked at to findings. What a piece knows of its
own servers is asked and decided there (:mod:`scalekit.database.examine`, :mod:`scalekit.storage.bucket`), and
a piece that an application does not use is not imported.
"""

from scalekit.ops.doctor.around import Around
from scalekit.ops.doctor.examination import Examination, examine
from scalekit.ops.doctor.findings import KINDS, Finding
from scalekit.ops.doctor.load import Loaded, load

__all__ = ["KINDS", "Around", "Examination", "Finding", "Loaded", "examine", "load"]
