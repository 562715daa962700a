from avsep.grouping import connected_groups


def test_chains_of_pairs_make_groups_named_after_their_first_member():
    pairs = [("d", "c"), ("b", "d"), ("x", "y"), ("z", "z")]
    assert connected_groups(pairs) == {"b": "b", "c": "b", "d": "b", "x": "x", "y": "x", "z": "z"}
    assert connected_groups([]) == {}
