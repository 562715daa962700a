"""How a stage is executed: the loop over batches, completion markers, the ledger."""
