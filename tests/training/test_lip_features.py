import pytest
import torch

from avsep.loading.config import AugmentConfig
from avsep.loading.mixtures import TrainMixtures, collate
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_features import LipFeatureCache
from avsep.models.dolphin.model import Dolphin, prepare_lips
from tests.support.synthetic_store import SyntheticStore

VIEWS = AugmentConfig(crop=True, flip=0.5, light=1.0)


@pytest.fixture(scope="module")
def store():
    return SyntheticStore()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Dolphin(DolphinConfig.demo()).freeze_lip_encoder().eval()


@pytest.fixture
def make(model, store):
    def make(**changes):
        given = {"seed": 3, "views": 2, "voices": store.draw(25).table.voices, **changes}
        return LipFeatureCache(model, store, VIEWS, **given)

    return make


@pytest.fixture
def encoded(model):
    """How many clips the encoder has seen."""
    seen = []
    handle = model.lip_encoder.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


def at(cache, pairs):
    keys, views = [key for key, _ in pairs], torch.tensor([view for _, view in pairs])
    return cache.at(keys, torch.arange(60.0).expand(len(pairs), -1), views)


@pytest.mark.slow
def test_they_are_those_of_the_encoder_and_stay_within_their_limit(make, store, model):
    cache = make(limit_bytes=200_000)
    items = TrainMixtures(store, store.draw(25), seed=0, cues=())
    batch = collate([items[n] for n in range(4)])
    features = cache.at(batch["key"], batch["positions"], batch["view"])
    key, first = batch["key"][2], int(batch["positions"][2, 0])
    with torch.no_grad():
        whole = model.encode_lips(prepare_lips(torch.tensor(store.lips(key))[None], 88))[0]
    torch.testing.assert_close(features[2], whole[first : first + 25], atol=2e-3, rtol=2e-3)
    assert 0 < cache._bytes <= 200_000


@pytest.mark.slow
def test_views_differ_from_the_stored_clip_and_are_the_same_every_time(make, store):
    items = TrainMixtures(store, store.draw(25), seed=0, cues=(), views=3)
    assert set(collate([items[n] for n in range(12)])["view"].tolist()) == {1, 2, 3}
    one, other = (at(make(), [("a0", view) for view in range(4)]) for _ in range(2))
    assert torch.equal(one, other)
    assert all((one[i] - one[j]).abs().max() > 0.01 for i in range(4) for j in range(i))


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_ranks_share_the_work_and_have_what_each_would_have_computed(make, store, encoded, views):
    keys = [row.key for row in store.index if row.split == "train"]
    pairs = [(key, view) for key in keys for view in (range(1, views + 1) if views else [0])]
    parts = []
    for rank in range(2):
        del encoded[:]
        make(views=views).fill_together(
            visits=1000, rank=rank, num_ranks=2, add_up=lambda part: parts.append(part) or part
        )
        assert len(encoded) == len(pairs) // 2
    filled = make(views=views)
    filled.fill_together(visits=1000, rank=1, num_ranks=2, add_up=lambda part: part + parts[0])
    expected = at(make(views=views), pairs)
    del encoded[:]
    assert torch.equal(at(filled, pairs), expected)
    assert not encoded


@pytest.mark.parametrize("changes", [{"visits": 71}, {"limit_bytes": 24 * 60 * 576 * 2 - 1}])
def test_a_short_run_or_a_large_corpus_is_left_to_each_rank(make, encoded, changes):
    visits = changes.pop("visits", 72)  # three for each of 12 clips in two views
    make(**changes).fill_together(visits=visits, add_up=pytest.fail)
    assert not encoded


@pytest.mark.slow
def test_just_long_enough_a_run_fills_within_the_limit(make, encoded, capsys):
    cache = make(limit_bytes=24 * 60 * 576 * 2)
    cache.fill_together(visits=72)
    assert len(encoded) == 24
    assert cache._bytes == 24 * 60 * 576 * 2
    assert "lip features of 24 views" in capsys.readouterr().out
