"""Evaluation: metrics of each mixture, means with intervals, conditions and cost of a model."""
