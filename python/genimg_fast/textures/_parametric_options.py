"""The choices of `genimg_fast.textures.portilla_simoncelli`, named without importing torch."""

from __future__ import annotations

METHODS = ("projection", "gradient", "polished")
EDGES = ("none", "periodic")

# Which of `JointStatistics` make a family.
FAMILIES = {
    "marginals": ("pixels", "skewness", "kurtosis"),
    "autocorrelation": ("reconstructions", "planes", "highpass"),
    "magnitudes": ("magnitude_means", "magnitude_correlations", "magnitudes"),
    "phases": ("phases",),
}
