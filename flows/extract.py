"""The extract stage as a Prefect flow; `python -m flows.extract` runs it."""

from flows.engine import main, stage_flow

extract = stage_flow("extract")

if __name__ == "__main__":
    main(extract, "extract")
