"""The corpora by name."""

from __future__ import annotations

from avsep.corpora.avspeech import AvSpeech
from avsep.corpora.config import CorpusConfig
from avsep.corpora.corpus import Corpus
from avsep.corpora.crema_d import CremaD
from avsep.corpora.demo.source_clips import Demo
from avsep.corpora.folder import Folder
from avsep.corpora.grid import Grid
from avsep.corpora.lombard_grid import LombardGrid
from avsep.corpora.lrs2 import Lrs2
from avsep.corpora.lrs3 import Lrs3
from avsep.corpora.voxceleb2 import VoxCeleb2
from avsep.outcome import SourceLog
from avsep.workspace import Workspace


def open_corpus(config: CorpusConfig, workspace: Workspace, ledger: SourceLog) -> Corpus:
    """The chosen corpus; how the downloads of videos ended is written to the ledger."""
    if config.corpus == "demo":
        return Demo(config=config.demo, workspace=workspace, seed=config.seed)
    if config.corpus == "folder":
        return Folder(config=config.folder, workspace=workspace, seed=config.seed)
    if config.corpus == "lrs2":
        return Lrs2(config=config.lrs2, workspace=workspace, seed=config.seed)
    if config.corpus == "lrs3":
        return Lrs3(config=config.lrs3, workspace=workspace, seed=config.seed)
    if config.corpus == "grid":
        return Grid(config=config.grid, workspace=workspace, seed=config.seed)
    if config.corpus == "lombard-grid":
        return LombardGrid(config=config.lombard_grid, workspace=workspace, seed=config.seed)
    if config.corpus == "avspeech":
        return AvSpeech(
            config=config.avspeech,
            workspace=workspace,
            seed=config.seed,
            youtube=config.youtube,
            ledger=ledger,
        )
    if config.corpus == "crema-d":
        return CremaD(config=config.crema_d, workspace=workspace, seed=config.seed)
    return VoxCeleb2(
        config=config.voxceleb2,
        workspace=workspace,
        seed=config.seed,
        youtube=config.youtube,
        ledger=ledger,
    )
