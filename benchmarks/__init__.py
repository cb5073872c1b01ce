"""Kiso side by side with other frameworks, on the reader's own machine.

    python -m benchmarks.training --nets mlp,simpleconv --peers torch --json training.json

Place in the pipeline: outside of it; nothing in `kiso` imports this folder, and it is not part of
the installed package. Read nets.py (what is trained), ours.py and peer_torch.py (the two sides of
a race), race.py (who is timed when), training.py (the command).
"""
