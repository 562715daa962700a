"""The train stage as a Prefect flow; `python -m flows.train` runs it."""

from flows.engine import main, stage_flow

train = stage_flow("train")

if __name__ == "__main__":
    main(train, "train")
