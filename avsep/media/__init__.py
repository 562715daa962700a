"""Read and write media: everything that uses PyAV or the ffmpeg binary.

All times are in seconds of presentation time: the clock of the file, after edit lists and start
offsets, by which sound and video are synchronous.
"""
