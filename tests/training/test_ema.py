import torch
from torch import nn

from avsep.training.ema import WeightAverage


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))


def test_the_average_follows_the_formula():
    net = model()
    average = WeightAverage(net, decay=0.9)
    expected = net[0].weight.detach().clone()
    for step in range(40):
        with torch.no_grad():
            net[0].weight += 0.1 * torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
        average.update(net, step)
    torch.testing.assert_close(average.module[0].weight, expected)
    assert not average.module[0].weight.requires_grad


def test_buffers_and_frozen_weights_are_copied_and_nothing_leaks_back():
    net = model()
    net[2].requires_grad_(False)
    average = WeightAverage(net, decay=0.99)
    before = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        net[1].running_mean += 5
        net[2].weight += 1
        net[0].weight += 1
    average.update(net, 1000)
    assert torch.equal(average.module[1].running_mean, net[1].running_mean)
    assert torch.equal(average.module[2].weight, net[2].weight)
    torch.testing.assert_close(average.module[0].weight, before[0] + 0.01)


def test_decay_zero_is_a_plain_copy():
    net = model()
    average = WeightAverage(net, decay=0.0)
    with torch.no_grad():
        net[0].weight += 1
    average.update(net, 3)
    assert torch.equal(average.module[0].weight, net[0].weight)


def test_spoilt_buffers_come_back_and_the_average_stays_in_eval_mode():
    net = model()
    average = WeightAverage(net, decay=0.9)
    average.train()
    assert not average.module.training
    net(torch.full((4, 3), float("nan")))
    assert net[1].running_mean.isnan().all()
    average.restore_buffers(net)
    assert torch.equal(net[1].running_mean, torch.zeros(2))
    assert int(net[1].num_batches_tracked) == 0
