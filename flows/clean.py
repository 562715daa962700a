"""The clean stage as a Prefect flow; `python -m flows.clean` runs it."""

from flows.engine import main, stage_flow

clean = stage_flow("clean")

if __name__ == "__main__":
    main(clean, "clean")
