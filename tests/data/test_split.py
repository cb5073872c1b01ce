"""Splits and batches: partitions, proportions, togetherness, the same rows for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso.data import batches, order
from kiso.data.split import DEFAULT_FRACTIONS, counts, fractions, partition
from kiso.errors import ConfigError

SEEDS = st.integers(0, 2**64 - 1)
PARTS = st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.9, 0.1), (0.05, 0.05, 0.9)])
LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)


@given(LABELS, PARTS, SEEDS)
def test_every_row_is_in_exactly_one_part(labels, parts, seed):
    rows = partition(len(labels), parts, seed=seed, labels=labels)
    assert len(rows) == len(parts)
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in rows)


@given(LABELS, PARTS, SEEDS)
def test_classes_keep_their_proportions(labels, parts, seed):
    rows = partition(len(labels), parts, seed=seed, labels=labels)
    for label, n in zip(*np.unique(labels, return_counts=True), strict=True):
        found = [int((labels[part] == label).sum()) for part in rows]
        if n >= len(parts):
            assert min(found) >= 1
        for count, part in zip(found, parts, strict=True):
            assert abs(count - n * part) < len(parts)


def test_totals_come_out_right_over_many_uneven_classes():
    labels = np.repeat(np.arange(10), [98, 97, 103, 99, 101, 96, 104, 99, 103, 100])
    rows = partition(1000, (0.7, 0.15, 0.15), seed=0, labels=labels)
    assert [len(part) for part in rows] == [700, 150, 150]


@given(st.permutations(["a"] * 20 + ["b"] * 40 + ["c"] * 60), SEEDS)
def test_a_further_class_moves_no_sample_of_the_others(labels, seed):
    every, few = np.array(labels), np.array([label for label in labels if label != "b"])
    rows = np.flatnonzero(every != "b")
    whole = partition(len(every), DEFAULT_FRACTIONS, seed=seed, labels=every)
    without = partition(len(few), DEFAULT_FRACTIONS, seed=seed, labels=few)
    for one, other in zip(whole, without, strict=True):
        assert [row for row in one if every[row] != "b"] == rows[other].tolist()


@given(LABELS, PARTS, SEEDS, st.integers(1, 40))
def test_groups_stay_together(labels, parts, seed, number):
    groups = np.arange(len(labels)) % number
    rows = partition(len(labels), parts, seed=seed, labels=labels, groups=groups)
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    homes = [set(groups[part]) for part in rows]
    for i in range(len(homes)):
        for other in homes[i + 1:]:
            assert not homes[i] & other


@given(st.integers(0, 500), PARTS)
def test_counts_add_up(n, parts):
    owed = [0.0] * len(parts)
    found = counts(n, parts, owed)
    assert sum(found) == n
    assert min(found) >= (1 if n >= len(parts) else 0)
    assert abs(sum(owed)) < 1e-6


@given(st.lists(st.integers(0, 30), max_size=60))
def test_counts_never_drift(sizes):
    parts, owed, found = (0.7, 0.15, 0.15), [0.0] * 3, np.zeros(3, int)
    for n in sizes:
        found += counts(n, parts, owed)
        assert max(map(abs, owed)) < 2
    assert found.sum() == sum(sizes)


def test_the_seed_decides():
    rows = [partition(300, (0.7, 0.3), seed=seed)[0].tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10, written from the paper (Salmon et al. 2011): one block of four draws."""
    top = 2**64 - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & top, (a >> 64) ^ c[3] ^ k[1], a & top]
        k = [(k[0] + 0x9E3779B97F4A7C15) & top, (k[1] + 0xBB67AE8584CAA73B) & top]
    return c


@given(SEEDS, st.integers(0, 2**40), st.integers(0, 30))
def test_orders_can_be_computed_without_numpy(seed, epoch, n):
    """So they stay the same in any later version: runs can be repeated and resumed."""
    draws = [draw for block in range(1, n // 4 + 2)
             for draw in philox([block, 0, epoch, 0], [seed, 2])][:n]
    assert order(n, seed=seed, epoch=epoch).tolist() == sorted(range(n), key=draws.__getitem__)


@given(st.integers(0, 300), st.integers(1, 70), SEEDS, st.integers(0, 1000), st.booleans())
def test_batches_cover_the_epoch(n, size, seed, epoch, shuffle):
    found = batches(n, size, seed=seed, epoch=epoch, shuffle=shuffle)
    assert len(found) == -(-n // size)
    assert all(len(batch) == size for batch in found[:-1])
    rows = np.concatenate([np.zeros(0, np.int64), *found])
    assert rows.dtype == np.int64
    assert sorted(rows) == list(range(n))
    if not shuffle:
        assert rows.tolist() == list(range(n))
    again = batches(n, size, seed=seed, epoch=epoch, shuffle=shuffle)
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def test_epochs_and_seeds_differ():
    orders = {tuple(order(50, seed=seed, epoch=epoch)) for seed in range(5) for epoch in range(20)}
    assert len(orders) == 100


def test_shuffles_are_even():
    """Each row comes first about equally often: chi-square over 8 rows and 4000 epochs."""
    first = np.bincount([order(8, seed=3, epoch=e)[0] for e in range(4000)], minlength=8)
    assert ((first - 500) ** 2 / 500).sum() < 24.3  # 0.1 % point of chi-square, 7 degrees


@pytest.mark.parametrize(("split", "expected"), [
    (None, (0.7, 0.15, 0.15)), (0.7, (0.7, 0.15, 0.15)), (0.5, (0.5, 0.25, 0.25)),
    ((0.6, 0.3, 0.1), (0.6, 0.3, 0.1))])
def test_fractions(split, expected):
    assert fractions(split) == pytest.approx(expected)


@pytest.mark.parametrize("split", [0, 1, 1.5, -0.2, (0.7, 0.3), (0.7, 0.3, 0), (0.5, 0.1, 0.1),
                                   (0.2, 0.2, 0.2, 0.4), float("nan"), "0.8,0.1,0.1", "most"])
def test_impossible_fractions(split):
    with pytest.raises(ConfigError, match="split"):
        fractions(split)


def test_impossible_seed_and_batch_size():
    with pytest.raises(ConfigError, match="seed"):
        order(3, seed=-1, epoch=0)
    with pytest.raises(ConfigError, match="batch size"):
        batches(3, 0, seed=0, epoch=0)
