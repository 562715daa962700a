"""The eight stages in their order; a module per stage plans, works and finishes."""

from pipeline.execution.stage import Stage
from pipeline.stages import clean, download, evaluate, extract, mix, pretrain, report, train

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        download.STAGE,
        clean.STAGE,
        extract.STAGE,
        mix.STAGE,
        pretrain.STAGE,
        train.STAGE,
        evaluate.STAGE,
        report.STAGE,
    )
}
