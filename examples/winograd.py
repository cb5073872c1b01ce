"""Winograd's filtering on one tile: 4x4 results of a 3x3 filter with 36 products, not 144.

    python examples/winograd.py

Formulas and the proof stand at the top of kiso/ops/winograd.py.
"""

import numpy as np

from kiso.ops import toom_cook_matrices, winograd_matrices


def show(title, matrix):
    """A title and a matrix below it."""
    print(f"\n{title}")
    for row in matrix:
        print("   " + " ".join(f"{value:8.3f}" for value in row.round(9) + 0.0))


def direct(d, g):
    """y[i, j] = sum over k, l of g[k, l] d[i + k, j + l], as it stands; and the products."""
    y, products = np.zeros((4, 4), d.dtype), 0
    for i, j in np.ndindex(4, 4):
        for k, l in np.ndindex(3, 3):
            y[i, j] += g[k, l] * d[i + k, j + l]
            products += 1
    return y, products


def filtered(d, g, matrices):
    """The same as A^T [(G g G^T) * (B^T d B)] A; and the products, n x n of them."""
    A, G, B = (matrix.astype(d.dtype) for matrix in matrices)
    products = (G @ g @ G.T) * (B.T @ d @ B)
    return A.T @ products @ A, products


rng = np.random.default_rng(0)
d, g = rng.integers(0, 10, (6, 6)).astype(float), np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
A, G, B = winograd_matrices(4)
for title, matrix in (("A^T", A.T), ("G", G), ("B^T", B.T), ("tile d", d), ("filter g", g)):
    show(title, matrix)
y, products = filtered(d, g, (A, G, B))
right, count = direct(d, g)
show("the 36 products (G g G^T) * (B^T d B)", products)
show("results A^T [products] A", y)
show("the direct sum", right)
print(f"\nlargest difference: {abs(y - right).max():.1e}")
n = products.size
print(f"multiplications: direct {count}, here {n}, {count / n:g} times fewer")
print("   (not counted: those with A, G and B, which filters, tiles and channels share)")

many = [rng.normal(size=(20000, n, n)).astype(np.float32) for n in (6, 3)]
exact = filtered(*(a.astype(np.float64) for a in many), (A, G, B))[0]
errors = []
for matrices in ((A, G, B), toom_cook_matrices((0, 1, -1, 2, -2))):
    result = filtered(*many, matrices)[0]
    errors.append(np.sqrt(np.mean((result - exact) ** 2)))
print(f"typical error in float32: {errors[0]:.1e}; with the points 0, 1, -1, 2, -2 "
      f"{errors[1]:.1e}, {errors[1] / errors[0]:.1f} times larger")
