"""The 68 points in the iBUG order, and which of MediaPipe's 478 points correspond to them."""

from __future__ import annotations

import numpy as np

JAW = slice(0, 17)
MOUTH = slice(48, 68)
NOSE_TIP = 30
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 36, 45  # right and left of the person, not of the picture
# Pairs of points on the upper and lower inner lip; their distance is how far the mouth is open.
INNER_LIP_UPPER = (61, 62, 63)
INNER_LIP_LOWER = (67, 66, 65)

# Points that hardly move during speech: below the nose, and the four eye corners.
STABLE = (33, 36, 39, 42, 45)

# Distance to dlib's 68 points relative to the inter-ocular distance: mouth 0.02-0.03, eyes 0.02,
# nose 0.03, but jaw 0.11, since the two define the contour of the face differently.
_JAW = (127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 240, 97, 2, 326, 460)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
MEDIAPIPE_INDEX = np.array(_JAW + _BROWS + _NOSE + _EYES + _OUTER_LIPS + _INNER_LIPS)
MEDIAPIPE_INDEX.flags.writeable = False
