"""The local web page: drop a video, see the faces, hear each voice."""
