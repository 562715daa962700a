"""The workflow of a project: eight stages, how a stage is executed, `params.yaml`, the ledger."""
