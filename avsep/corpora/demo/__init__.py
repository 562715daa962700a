"""The embedded demo corpus: synthetic talking heads whose lips truly follow their speech.

It needs no licence and no network, and shows no real person. A head (`mesh`, `identity`, `skin`,
`head`) is posed by face units that follow the phonemes of a stored voice (`voices`, `visemes`,
`motion`) and drawn by a software renderer (`raster`, `render`). `corpus` says which speakers and
clips there are. This package imports nothing heavy by itself.
"""
