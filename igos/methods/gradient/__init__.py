"""Attributions from gradients: at the picture, along a path, and in regions."""
