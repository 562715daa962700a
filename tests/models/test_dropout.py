"""Dropout: what it keeps, by how much it scales, and what goes backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from avsep.models.dropout import attend, dropout


def test_without_training_or_probability_nothing_happens() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
def test_as_many_are_dropped_as_asked_and_the_mean_stays(probability: float) -> None:
    torch.manual_seed(0)
    count = 200_000
    y = dropout(torch.ones(count), probability, training=True)

    dropped = float((y == 0).float().mean())
    assert abs(dropped - probability) < 5 * (probability * (1 - probability) / count) ** 0.5
    kept = y[y != 0]
    torch.testing.assert_close(
        kept, torch.full_like(kept, 1 / (1 - probability)), rtol=2e-4, atol=0
    )


def test_elements_are_drawn_one_apart_from_another() -> None:
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(400_000), 0.3, training=True) == 0).float() - 0.3
    for lag in (1, 2, 3, 4, 64):  # four elements share a draw
        correlation = float((dropped[lag:] * dropped[:-lag]).mean() / 0.21)
        assert abs(correlation) < 0.008, lag  # five standard errors


def test_a_seed_decides_and_each_call_draws_anew() -> None:
    x = torch.ones(1000)
    torch.manual_seed(1)
    first, second = dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5, training=True), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_goes_where_the_values_went(dtype: torch.dtype) -> None:
    x = torch.ones(7, 11, 3, dtype=dtype).transpose(0, 1).requires_grad_()
    y = dropout(x, 0.4, training=True)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert 0 < int((y == 0).sum()) < y.numel()


@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_with_hardly_any_dropout_is_attention(with_bias: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 4, requires_grad=True) for n in (5, 6, 6))
    bias = torch.randn(2, 3, 5, 6, requires_grad=True) if with_bias else None
    inputs = [t for t in (query, key, value, bias) if t is not None]

    ours = attend(query, key, value, bias, 1e-9)  # rounds to none
    theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_attention_drops_weights_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 2000, 4), torch.randn(1, 1, 10, 4)
    value = torch.ones(1, 1, 10, 1)
    y = attend(query, key, value, None, 0.5)
    assert float(y.std()) > 0.2
    assert abs(float(y.mean()) - 1.0) < 5 * float(y.std()) / 2000**0.5
