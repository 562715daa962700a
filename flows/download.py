"""The download stage as a Prefect flow; `python -m flows.download` runs it."""

from flows.engine import main, stage_flow

download = stage_flow("download")

if __name__ == "__main__":
    main(download, "download")
