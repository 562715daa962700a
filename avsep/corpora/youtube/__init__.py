"""Clips cut from YouTube videos as the annotations of a corpus say, with yt-dlp as a library.

Downloads are off by default: see `YouTubeConfig.allowed`.
"""
