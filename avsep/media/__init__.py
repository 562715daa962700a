"""Reading and writing media: everything that touches PyAV or the ffmpeg binary.

All times are in seconds of presentation time: the clock of the file, after edit lists and start
offsets, on which sound and picture belong together.
"""
