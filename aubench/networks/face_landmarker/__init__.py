"""MediaPipe's face landmarker in torch: faces, 478 points, 52 blendshapes, and AUs from them."""

from aubench.networks.face_landmarker.finder import five_points
from aubench.networks.face_landmarker.landmarker import FaceGeometry, FaceLandmarker
from aubench.networks.face_landmarker.names import BLENDSHAPE_POINTS, BLENDSHAPES

__all__ = ["BLENDSHAPES", "BLENDSHAPE_POINTS", "FaceGeometry", "FaceLandmarker", "five_points"]
