"""The mix stage as a Prefect flow; `python -m flows.mix` runs it."""

from flows.engine import main, stage_flow

mix = stage_flow("mix")

if __name__ == "__main__":
    main(mix, "mix")
