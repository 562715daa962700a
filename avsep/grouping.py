"""Groups of names that are connected by pairs, e.g. clips that are copies of each other."""

from __future__ import annotations

from collections.abc import Iterable


def connected_groups(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of each name: two names are in one group if a chain of pairs connects them.

    Returns:
        For each name, the first name of its group in alphabetical order.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = list(pairs)
    names = sorted({name for pair in pairs for name in pair})
    if not names:
        return {}
    number = {name: index for index, name in enumerate(names)}
    edges = np.array([[number[one], number[other]] for one, other in pairs])
    graph = coo_array((np.ones(len(edges)), tuple(edges.T)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for name, label in zip(names, labels, strict=True):
        first.setdefault(label, name)
    return {name: first[label] for name, label in zip(names, labels, strict=True)}
