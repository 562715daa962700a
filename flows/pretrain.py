"""The pretrain stage as a Prefect flow; `python -m flows.pretrain` runs it."""

from flows.engine import main, stage_flow

pretrain = stage_flow("pretrain")

if __name__ == "__main__":
    main(pretrain, "pretrain")
