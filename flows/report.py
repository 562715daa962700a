"""The report stage as a Prefect flow; `python -m flows.report` runs it."""

from flows.engine import main, stage_flow

report = stage_flow("report")

if __name__ == "__main__":
    main(report, "report")
