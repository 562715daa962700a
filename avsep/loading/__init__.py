"""What training and evaluation read: mixtures and clips from shards, as pure functions of a number.

`mixtures` has the data sets, `clips` the one for the lip encoder, `sampler` says which item comes
when and on which rank, `augment` changes training items.
"""
