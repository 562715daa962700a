"""The evaluate stage as a Prefect flow; `python -m flows.evaluate` runs it."""

from flows.engine import main, stage_flow

evaluate = stage_flow("evaluate")

if __name__ == "__main__":
    main(evaluate, "evaluate")
