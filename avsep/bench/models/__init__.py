"""The cost of the full-size models on this machine: `avsep bench models`.

Runs on a bare GPU machine too, without the packages for media and faces.
"""
