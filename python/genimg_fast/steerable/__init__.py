"""Steerable pyramids: in the frequency domain (freq) and in the spatial domain (space)."""
