"""Views of a picture: permutations, orthogonal maps, filters and components, for diffusion with several views.

D. Geng, I. Park, A. Owens, "Visual Anagrams: Generating Multi-View Optical Illusions with Diffusion Models", CVPR 2024.
"""

from genimg_fast._core.public import directory
from genimg_fast.views._bound import BoundView
from genimg_fast.views._check import ViewReport, check_view
from genimg_fast.views._plan import Plan
from genimg_fast.views._view import CATALOG, Permute, View, view
from genimg_fast.views._views import Views

__all__ = ["CATALOG", "BoundView", "Permute", "Plan", "View", "ViewReport", "Views", "check_view", "view"]


def __dir__() -> list[str]:
    return directory(globals())
