"""The demo corpus: synthetic talking heads whose lips follow their speech.

It needs no licence and no network, and shows no real person. A head (`mesh`, `identity`, `skin`,
`head`) is posed by face units that follow the phonemes of a stored voice (`voices`, `visemes`,
`motion`). A software renderer draws it (`raster`, `shading`, `render`). `corpus` defines the
speakers and clips. The package itself imports nothing heavy.
"""
