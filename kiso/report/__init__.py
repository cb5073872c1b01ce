"""The report of a run: one offline HTML page, and the figures on it.

Last but one in the pipeline: it reads what `train` wrote into a run folder, nothing else, and the
commands call it. Read page.py first (from folder to page), then run.py (what is in the folder),
classification.py, regression.py and overview.py (what is said about it), figures.py and svg.py
(pictures). The words and the looks are in templates/.

profile.py, origin.py, clock.py and peak.py are another report: what a training step costs, kernel
by kernel.
"""

from kiso.report.page import build

__all__ = ["build"]
