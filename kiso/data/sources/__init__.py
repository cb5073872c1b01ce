"""One file for each form in which data come: digits, IDX, CIFAR-10, class folders, .npz, CSV.

A source of pictures or arrays reads its files into a `Pool` (parts.py); assemble.py deals the
splits. Tables deal first, since their columns are fitted on the training rows alone.
"""

__all__: list[str] = []
