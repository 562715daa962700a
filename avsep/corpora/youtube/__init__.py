"""Clips cut from YouTube videos by a corpus's annotations, with yt-dlp as a library.

Off by default: see `YouTubeConfig.allowed`.
"""
