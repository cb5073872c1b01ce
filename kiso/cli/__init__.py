"""The commands: `kiso train`, `resume`, `evaluate`, `predict`, `report`, `summary`, `info`.

Last stage of the pipeline: it reads the command line, calls `train`, `data`, `nn` and `report`,
and prints. Reading order: app.py (the entrance and the errors), options.py, commands.py and help.py
(what can be said on the command line), output.py and figures.py (what is printed, and where), then
one file for each group of commands: train.py (train, resume), judge.py (evaluate, predict, report),
look.py with machine.py (summary, info).

Nothing heavy is imported before a command needs it, so that `kiso --help` answers at once.
"""

__all__: list[str] = []
