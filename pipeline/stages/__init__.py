"""The stages, one module each: `plan` the batches, `work` a batch, `finish` the stage."""
